"""Published spellings are read, new names are kept; what the wording cannot tell is a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.wording import question_type_from_wording
from medrobust_bench.specs.vocabulary import (
    MODALITIES,
    QUESTION_TYPES,
    Modality,
    QuestionType,
    in_usual_order,
    known_modality,
    known_question_type,
    modality_name,
    question_type_name,
)

PUBLISHED = {
    "CT(Computed Tomography)": Modality.CT,
    "MR (Mag-netic Resonance Imaging)": Modality.MRI,
    "X-Ray": Modality.XRAY,
    "ultrasound": Modality.ULTRASOUND,
    "OCT (Optical Coherence Tomography": Modality.OCT,
    "Fundus Photography": Modality.FUNDUS,
    "Dermoscopy": Modality.DERMOSCOPY,
    "Microscopy Images": Modality.MICROSCOPY,
    "Endoscopy": Modality.ENDOSCOPY,
    "Infrared Reflectance Imaging": Modality.INFRARED,
    "Digital Photography": Modality.DIGITAL_PHOTOGRAPHY,
    "colposcopy": Modality.COLPOSCOPY,
}


@pytest.mark.parametrize(("spelling", "modality"), PUBLISHED.items())
def test_published_modality(spelling: str, modality: str) -> None:
    assert modality_name(spelling) == modality


@pytest.mark.parametrize("modality", MODALITIES)
def test_own_names_are_read_back(modality: str) -> None:
    assert modality_name(modality) == modality
    assert modality_name(modality.lower()) == modality


@pytest.mark.parametrize("question_type", QUESTION_TYPES)
def test_own_types_are_read_back(question_type: str) -> None:
    assert question_type_name(question_type) == question_type
    assert question_type_name(question_type.title()) == question_type


@pytest.mark.parametrize("spelling", ["CTT", "sonar", "all", "unknown"])
def test_a_new_name_is_kept(spelling: str) -> None:
    assert known_modality(spelling) is None
    assert known_question_type(spelling) is None
    assert modality_name(f" {spelling}\n") == spelling
    assert question_type_name(spelling) == spelling


def test_omnimedvqa_has_twelve_modalities_and_five_types() -> None:
    assert len(set(MODALITIES)) == 12
    assert len(set(QUESTION_TYPES)) == 5


@given(st.lists(st.sampled_from([*MODALITIES, "PET", "SPECT", "angiography"])))
def test_tables_lose_no_name(names: list[str]) -> None:
    ordered = in_usual_order(names)
    assert sorted(ordered) == sorted(set(names))
    known = [name for name in ordered if name in MODALITIES]
    assert known == sorted(known, key=MODALITIES.index)
    assert list(ordered[len(known) :]) == sorted(set(names).difference(known)), "new names come last"


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("Which technique was used to obtain this picture?", ("Ultrasound", "MRI"), QuestionType.MODALITY),
        ("What modality is shown?", ("CT", "x_ray."), QuestionType.MODALITY),
        ("Which organ is visible?", ("Liver", "Kidney"), QuestionType.ANATOMY),
        ("What type of white blood cell is this?", ("Monocyte", "Eosinophil"), QuestionType.ANATOMY),
        ("Does this scan show a disease?", ("Yes", "No"), QuestionType.DIAGNOSIS),
        ("Which organ is affected by the disease?", ("Lung", "Heart"), QuestionType.DIAGNOSIS),
        ("Which abnormality is this?", ("Mild diabetic retinopathy", "Cataract"), QuestionType.GRADING),
        ("How far has the tumour come?", ("Stage Ib", "Stage IV"), QuestionType.GRADING),
        ("What is the shape of the cells?", ("Round", "Spindle"), QuestionType.ATTRIBUTES),
        ("What are the characteristics of the abnormality?", ("Fluid", "None"), QuestionType.ATTRIBUTES),
    ],
)
def test_wording(text: str, options: tuple[str, ...], expected: QuestionType) -> None:
    assert question_type_from_wording(text, options) == expected

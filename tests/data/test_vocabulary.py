"""Published spellings are read; what the wording cannot tell is a guess."""

from __future__ import annotations

import pytest

from medrobust_bench.data.question import Modality, QuestionType
from medrobust_bench.data.vocabulary import (
    modality_of,
    question_type_from_wording,
    question_type_of,
    uncovered_modality,
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
}


@pytest.mark.parametrize(("spelling", "modality"), PUBLISHED.items())
def test_published_modality(spelling: str, modality: Modality) -> None:
    assert modality_of(spelling) is modality


@pytest.mark.parametrize("modality", Modality)
def test_own_names_are_read_back(modality: Modality) -> None:
    assert modality_of(modality) is modality
    assert modality_of(modality.lower()) is modality


@pytest.mark.parametrize("question_type", QuestionType)
def test_own_types_are_read_back(question_type: QuestionType) -> None:
    assert question_type_of(question_type) is question_type
    assert question_type_of(question_type.title()) is question_type


@pytest.mark.parametrize("spelling", ["", "CTT", "sonar", "all"])
def test_unknown_spelling(spelling: str) -> None:
    assert modality_of(spelling) is None
    assert question_type_of(spelling) is None
    assert uncovered_modality(spelling) is None


def test_uncovered_modalities_are_no_modalities() -> None:
    for spelling in (
        "Endoscopy",
        "Infrared Reflectance Imaging",
        "Digital Photography",
        "Colposcopy",
        "unknown",
    ):
        assert uncovered_modality(spelling)
        assert modality_of(spelling) is None


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
    assert question_type_from_wording(text, options) is expected

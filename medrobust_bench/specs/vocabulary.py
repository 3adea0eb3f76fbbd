"""The field's names of imaging modalities and question types: known ones, and the spellings that stand for them.

Both vocabularies are open. A name is plain text; the known ones have one spelling here, in which every published
variant of them is shown ("MR (Mag-netic Resonance Imaging)", "OCT (Optical Coherence Tomography" without its closing
bracket, "ultrasound"), and a name that nobody here knows ("PET", "Prognosis") is kept as its data set writes it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class Modality:
    """Names of the imaging modalities of OmniMedVQA, in the order in which tables show them."""

    CT: Final = "CT"
    MRI: Final = "MRI"
    XRAY: Final = "X-ray"
    ULTRASOUND: Final = "Ultrasound"
    OCT: Final = "OCT"
    FUNDUS: Final = "Fundus photography"
    DERMOSCOPY: Final = "Dermoscopy"
    MICROSCOPY: Final = "Microscopy"
    COLPOSCOPY: Final = "Colposcopy"
    DIGITAL_PHOTOGRAPHY: Final = "Digital photography"
    ENDOSCOPY: Final = "Endoscopy"
    INFRARED: Final = "Infrared reflectance imaging"


class QuestionType:
    """Names of OmniMedVQA's five question types, in the order in which tables show them."""

    MODALITY: Final = "Modality recognition"
    ANATOMY: Final = "Anatomy identification"
    DIAGNOSIS: Final = "Disease diagnosis"
    GRADING: Final = "Lesion grading"
    ATTRIBUTES: Final = "Other biological attributes"


MODALITIES: Final[tuple[str, ...]] = (
    Modality.CT,
    Modality.MRI,
    Modality.XRAY,
    Modality.ULTRASOUND,
    Modality.OCT,
    Modality.FUNDUS,
    Modality.DERMOSCOPY,
    Modality.MICROSCOPY,
    Modality.COLPOSCOPY,
    Modality.DIGITAL_PHOTOGRAPHY,
    Modality.ENDOSCOPY,
    Modality.INFRARED,
)
QUESTION_TYPES: Final[tuple[str, ...]] = (
    QuestionType.MODALITY,
    QuestionType.ANATOMY,
    QuestionType.DIAGNOSIS,
    QuestionType.GRADING,
    QuestionType.ATTRIBUTES,
)


def known_modality(spelling: str) -> str | None:
    """The known modality that a published or typed spelling means; None where it means none of them."""
    return _KNOWN_MODALITIES.get(_bare(spelling))


def known_question_type(spelling: str) -> str | None:
    """The known question type that a published or typed spelling means; None where it means none of them."""
    return _KNOWN_QUESTION_TYPES.get(_bare(spelling))


@lru_cache(maxsize=4096)  # a hundred thousand questions have a few dozen spellings
def modality_name(spelling: str) -> str:
    """The name of a modality: the known one that is meant, else the spelling itself with single spaces."""
    return known_modality(spelling) or " ".join(spelling.split())


@lru_cache(maxsize=4096)
def question_type_name(spelling: str) -> str:
    """The name of a question type: the known one that is meant, else the spelling itself with single spaces."""
    return known_question_type(spelling) or " ".join(spelling.split())


def in_usual_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names of modalities or question types: the known ones in their usual order, then the others by name."""
    distinct = set(names)
    known = [name for name in (*MODALITIES, *QUESTION_TYPES) if name in distinct]
    return (*known, *sorted(distinct.difference(known)))


def _bare(spelling: str) -> str:
    return re.sub(r"[^a-z0-9]", "", spelling.casefold())


_KNOWN_MODALITIES = {_bare(name): name for name in MODALITIES} | {
    "computedtomography": Modality.CT,
    "ctcomputedtomography": Modality.CT,
    "mr": Modality.MRI,
    "magneticresonanceimaging": Modality.MRI,
    "mrmagneticresonanceimaging": Modality.MRI,
    "opticalcoherencetomography": Modality.OCT,
    "octopticalcoherencetomography": Modality.OCT,
    "fundus": Modality.FUNDUS,
    "microscopyimages": Modality.MICROSCOPY,
}
_KNOWN_QUESTION_TYPES = {_bare(name): name for name in QUESTION_TYPES} | {
    "modality": QuestionType.MODALITY,
    "anatomy": QuestionType.ANATOMY,
    "diagnosis": QuestionType.DIAGNOSIS,
    "grading": QuestionType.GRADING,
    "attributes": QuestionType.ATTRIBUTES,
}

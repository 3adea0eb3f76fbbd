"""A multiple-choice question about one medical image, and the field's vocabulary around it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medrobust_bench.data.image import ImageSource

LETTERS = "ABCDEFGHIJ"
MIN_OPTIONS, MAX_OPTIONS = 2, len(LETTERS)


class Modality(StrEnum):
    """Imaging modality; the value is the name that users see and type."""

    CT = "CT"
    MRI = "MRI"
    XRAY = "X-ray"
    ULTRASOUND = "Ultrasound"
    OCT = "OCT"
    FUNDUS = "Fundus photography"
    DERMOSCOPY = "Dermoscopy"
    MICROSCOPY = "Microscopy"


class QuestionType(StrEnum):
    """OmniMedVQA's five question types."""

    MODALITY = "Modality recognition"
    ANATOMY = "Anatomy identification"
    DIAGNOSIS = "Disease diagnosis"
    GRADING = "Lesion grading"
    ATTRIBUTES = "Other biological attributes"


@dataclass(frozen=True, slots=True)
class Question:
    """One image, one question, two to ten options, one right answer.

    Attributes:
        id: unique within its data set.
        image: where the image comes from (a file, bytes, a phantom).
        text: the question as asked, without the options.
        options: 2 to 10 option texts, shown to the model as A, B, … in this order.
        answer: index of the right option.
        modality: imaging modality of the image.
        question_type: what kind of thing is asked.
        dataset: name of the source collection, e.g. "ISBI2016".
        explanation: what a reader would say he sees before answering; training text, never part of a prompt.
    """

    id: str
    image: ImageSource
    text: str
    options: tuple[str, ...]
    answer: int
    modality: Modality
    question_type: QuestionType
    dataset: str
    explanation: str = ""

    def __post_init__(self) -> None:
        if not MIN_OPTIONS <= len(self.options) <= MAX_OPTIONS:
            raise ValueError(
                f"{self.id}: {len(self.options)} options, must be {MIN_OPTIONS} to {MAX_OPTIONS}"
            )
        if not 0 <= self.answer < len(self.options):
            raise ValueError(f"{self.id}: answer index {self.answer} outside its {len(self.options)} options")

    @property
    def letter(self) -> str:
        """Letter of the right option."""
        return LETTERS[self.answer]

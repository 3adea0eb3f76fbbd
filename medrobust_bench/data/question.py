"""A multiple-choice question about one medical image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medrobust_bench.data.image import ImageSource

MIN_OPTIONS, MAX_OPTIONS = 2, 10
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """One image, one question, two to ten options, one right answer.

    Attributes:
        id: unique within its data set.
        image: where the image comes from (a file, bytes, a phantom).
        text: the question as asked, without the options.
        options: 2 to 10 option texts, shown to the model as A, B, … in this order.
        answer: index of the right option.
        modality: imaging modality of the image; known names are in `specs.vocabulary`, others are allowed.
        question_type: what kind of thing is asked; an open vocabulary as well.
        dataset: name of the source collection, e.g. "ISBI2016".
        group: the patient or study that the image is of, unique within the data set: questions of one group are one
            cluster in every interval and stand on one side of every split. None: the image is its own group.
        explanation: what a reader would say they see before answering; training text, never part of a prompt.
    """

    id: str
    image: ImageSource
    text: str
    options: tuple[str, ...]
    answer: int
    modality: str
    question_type: str
    dataset: str
    group: str | None = None
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

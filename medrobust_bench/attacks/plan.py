"""What an attack will do to a question that withstands it, said beforehand: a journal can be held against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of an attack: one start, one loss.

    Attributes:
        objective: name of the loss, as `AttemptRecord.objective`.
        fewest: how many images it tries where none breaks the answer, at least.
        most: and at most; fewer than this where it comes back to an image that it has met.
        gradient: whether it takes the gradient at all of them but the last.
    """

    objective: str
    fewest: int
    most: int
    gradient: bool


@runtime_checkable
class Planned(Protocol):
    """A threat that can say beforehand which runs a question meets that withstands all of them."""

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs, in order.

        Args:
            question: the question.
            generates: whether the model writes its answers, see `BoundQuestions.generation`.
        """
        ...

"""The phantoms as a data set among others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.phantoms.questions import NAME, phantom_questions
from medrobust_bench.data.rows import PublishedQuestion, Reading

if TYPE_CHECKING:
    from medrobust_bench.data.reader import Request


class Phantoms:
    """The synthetic data set, by its name; its splits are those of the renderer."""

    name = NAME
    reads = f"`{NAME}`, the synthetic data set"

    def recognises(self, source: str) -> bool:
        """Whether it is the suite's name."""
        return source == NAME

    def read(self, source: str, request: Request) -> Reading:
        """The questions of a split, in the renderer's order."""
        questions = phantom_questions(request.split, seed=request.seed)
        rows = tuple(
            PublishedQuestion(question, NAME, number, question.id, split=request.split)
            for number, question in enumerate(questions, start=1)
        )
        return Reading(NAME, rows, synthetic=True)


PHANTOMS = Phantoms()

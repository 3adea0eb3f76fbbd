"""A named, split collection of questions, opened by one function whatever its origin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question
    from medrobust_bench.problems import Problem


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions in a fixed order.

    Attributes:
        name: what results call it ("phantoms", "omnimedvqa", a folder's name).
        split: "train", "validation", "test" or "all".
        questions: the questions, ids unique.
        skipped: rows left out, each with its reason (only when the caller allowed skipping).
        synthetic: whether the images are rendered rather than taken from patients.
    """

    name: str
    split: str
    questions: tuple[Question, ...]
    skipped: tuple[Problem, ...] = ()
    synthetic: bool = False

    def digest(self) -> str:
        """Hex SHA-256 over id, image content, text, options and answer of every question, in order."""
        total = hashlib.sha256()
        for question in self.questions:
            parts = (question.id, question.image.digest(), question.text, *question.options, question.letter)
            total.update("\x1f".join(parts).encode() + b"\x1e")
        return total.hexdigest()

"""A named, split collection of questions, opened by one function whatever its origin."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medrobust_bench.data.image_state import ImageState
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
        states: by question id, what was found out about its image when the data set was opened; questions whose image
            was not looked at are left out.
        notes: what a user should know about how the data set was understood.
        option_texts: by question id, the option that its texts alone recommend, as they were right in the training
            split (`baselines.option_text_choices`); None where there is no training split at hand.
    """

    name: str
    split: str
    questions: tuple[Question, ...]
    skipped: tuple[Problem, ...] = ()
    synthetic: bool = False
    states: Mapping[str, ImageState] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    option_texts: Mapping[str, int] | None = None

    def preparation(self) -> dict[str, int]:
        """What was done to images to make them canonical, and to how many questions' images; the commonest first."""
        states = (self.states.get(question.id) for question in self.questions)
        counts = Counter(step for state in states if state is not None for step in state.steps)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def groups(self) -> int | None:
        """Number of patients or studies among the questions that name one; None where none does."""
        named = {question.group for question in self.questions if question.group is not None}
        return len(named) or None

    def digest(self) -> str:
        """Hex SHA-256 over id, image content, text, options, answer and group, if any, of every question, in order."""
        total = hashlib.sha256()
        for question in self.questions:
            state = self.states.get(question.id)
            seen = question.image.digest() if state is None or state.digest is None else state.digest
            parts = (question.id, seen, question.text, *question.options, question.letter)
            if question.group is not None:
                parts = (*parts, f"group {question.group}")
            total.update("\x1f".join(parts).encode() + b"\x1e")
        return total.hexdigest()

"""A named, split collection of questions, opened by one function whatever its origin."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        steps: by question id, what making its image canonical does to it, in standing words ("grey levels windowed as
            the DICOM header says"); questions whose image is taken as it is are left out.
        notes: what a user should know about how the data set was understood.
        option_texts: by question id, the option that its texts alone recommend, as they were right in the training
            split (`baselines.option_text_choices`); None where there is no training split at hand.
    """

    name: str
    split: str
    questions: tuple[Question, ...]
    skipped: tuple[Problem, ...] = ()
    synthetic: bool = False
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    option_texts: Mapping[str, int] | None = None

    def preparation(self) -> dict[str, int]:
        """What was done to images to make them canonical, and to how many questions' images; the commonest first."""
        counts = Counter(step for question in self.questions for step in self.steps.get(question.id, ()))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def groups(self) -> int | None:
        """Number of patients or studies among the questions that name one; None where none does."""
        named = {question.group for question in self.questions if question.group is not None}
        return len(named) or None

    def digest(self) -> str:
        """Hex SHA-256 over id, image content, text, options, answer and group, if any, of every question, in order."""
        total = hashlib.sha256()
        for question in self.questions:
            parts = (question.id, question.image.digest(), question.text, *question.options, question.letter)
            if question.group is not None:
                parts = (*parts, f"group {question.group}")
            total.update("\x1f".join(parts).encode() + b"\x1e")
        return total.hexdigest()

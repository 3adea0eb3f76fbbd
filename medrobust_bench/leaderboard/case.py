"""What the checks of one submission look at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import SHOWN
from medrobust_bench.data.image import canonical
from medrobust_bench.runs.audit.blindness import sampled_questions, strangers
from medrobust_bench.specs.seeds import question_seed

KEPT = 512
"""Decoded images that are kept: 0.2 GB at most."""

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.data.reopen import Place
    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Outcome
    from medrobust_bench.specs.threat import ThreatSpec


class CanonicalImages(Mapping[str, "NDArray[np.uint8]"]):
    """The canonical images of questions by id: all at once they would take more memory than a machine may have.

    Args:
        questions: by id.
    """

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._questions = questions
        self._decoded = lru_cache(maxsize=KEPT)(lambda name: canonical(questions[name].image))

    def __getitem__(self, question: str) -> NDArray[np.uint8]:
        if question not in self._questions:
            raise KeyError(question)
        return self._decoded(question)

    def __iter__(self) -> Iterator[str]:
        return iter(self._questions)

    def __len__(self) -> int:
        return len(self._questions)


@dataclass(frozen=True)
class Claim:
    """What a submission says, before any evidence.

    Attributes:
        path: the submission file.
        entry: what it holds.
        document: the same as it was written, before anything was converted.
        cards: the model registry.
        dataset: the questions that it says it asked, opened anew.
        place: where the data set is on this machine.
    """

    path: Path
    entry: Entry
    document: object
    cards: Mapping[str, Card]
    dataset: Dataset
    place: Place

    @cached_property
    def questions(self) -> dict[str, Question]:
        """The questions by id."""
        return {question.id: question for question in self.dataset.questions}

    @cached_property
    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """The canonical images [H, W, 3] by question, each decoded when it is asked for."""
        return CanonicalImages(self.questions)

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the canonical images' pixels by question."""
        return {name: hashlib.sha256(image.tobytes()).hexdigest() for name, image in self.images.items()}

    @cached_property
    def strangers(self) -> dict[str, Question]:
        """By question the one whose image takes the place of its own, where there is one."""
        return strangers(self.dataset.questions, seed=self.entry.selection.seed)

    @cached_property
    def sampled(self) -> frozenset[str]:
        """The questions that are also asked without their image where they are answered right."""
        return sampled_questions(self.questions, seed=self.entry.selection.seed)

    @property
    def first_version(self) -> bool:
        """Whether the result was written before it held what its questions give away without images."""
        return self.entry.result.schema_version == "1.0"

    def seed(self, question: str) -> int:
        """The seed of all randomness about a question."""
        return question_seed(self.entry.selection.seed, question)


@dataclass(frozen=True)
class Case(Claim):
    """A submission with evidence that could be read.

    Attributes:
        proof: the evidence.
    """

    proof: Proof

    @property
    def specification(self) -> ThreatSpec:
        """Of the threat."""
        return self.entry.result.threat

    @cached_property
    def clean(self) -> dict[str, Outcome]:
        """Outcomes on the clean images by question."""
        return {outcome.question: outcome for outcome in self.proof.clean}

    @cached_property
    def threat(self) -> dict[str, Outcome]:
        """Outcomes under the threat by question."""
        return {outcome.question: outcome for outcome in self.proof.threat}

    @property
    def generates(self) -> bool:
        """Whether the model writes its answers."""
        return self.entry.result.model.answer_mode in ("reasoning", "generate")

    @cached_property
    def unsteady(self) -> int:
        """How many clean images were answered differently when judged twice: no fewer contradictions are faults."""
        return sum(not outcome.steady for outcome in self.proof.clean)


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(name[:80] for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"

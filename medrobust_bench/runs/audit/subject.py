"""What `medrobust audit` examines: a model, an attack, and some questions that the model answers right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from medrobust_bench.attacks.attack_result import settled
from medrobust_bench.data.image import canonical
from medrobust_bench.models.memory import MemoryLimit
from medrobust_bench.models.pixels import to_images
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions


@dataclass(frozen=True, slots=True)
class Trial:
    """One question under one attack.

    Attributes:
        question: its id.
        choice: the deployed answer to the image that the attack handed in.
        broken: whether that is not the right option.
        result: what the attack says.
    """

    question: str
    choice: int | None
    broken: bool
    result: AttackResult


@dataclass(frozen=True, slots=True)
class Group:
    """Questions whose images have one shape.

    Attributes:
        bound: the questions.
        pixels: [B, 3, H, W] float32 in [0, 1], the clean images.
        seeds: one per question.
    """

    bound: BoundQuestions
    pixels: torch.Tensor
    seeds: list[int]


class Subject:
    """A model bound to sampled questions.

    Args:
        adapter: the model.
        questions: those that it answers right; of any image shapes.
        threat: the attack to be audited.
        seed: of the run.
    """

    def __init__(self, adapter: Adapter, questions: Sequence[Question], threat: Threat, *, seed: int) -> None:
        self.adapter = adapter
        self.threat = threat
        self.seed = seed
        self._memory = MemoryLimit()
        by_shape: dict[tuple[int, ...], list[Question]] = {}
        for question in questions:
            by_shape.setdefault(canonical(question.image).shape, []).append(question)
        self.groups = [self._group(same) for same in by_shape.values()]
        self.questions = tuple(question for same in by_shape.values() for question in same)

    @property
    def generates(self) -> bool:
        """Whether answers are generated text."""
        return self.groups[0].bound.generation is not None

    def attack(
        self, threat: Threat, watch: Watch | None = None, *, only: Sequence[Trial] | None = None
    ) -> list[Trial]:
        """Attack questions, and judge what comes back on the deployed path.

        Args:
            threat: the adversary.
            watch: told of every image that the attack tries.
            only: the questions of these trials; None: every one. What becomes of a question does not depend on it.
        """
        wanted = None if only is None else {trial.question for trial in only}
        trials = []
        for group in self.groups:
            rows = [
                row
                for row, question in enumerate(group.bound.batch.questions)
                if wanted is None or question.id in wanted
            ]
            if not rows:
                continue
            bound = group.bound.select(rows)
            results = settled(self._memory.run(partial(_searched, threat, group, watch), rows), bound)
            answers = bound.answer([result.image for result in results])
            for question, answer, result in zip(bound.batch.questions, answers, results, strict=True):
                trials.append(Trial(question.id, answer.choice, answer.choice != question.answer, result))
        return trials

    def images_for(self, group: Group, levels: int) -> list[NDArray[np.uint8]]:
        """The clean images of a group under uniform noise of so many grey levels, from the questions' seeds."""
        noisy = group.pixels + levels / 255 * uniform_noise(group)
        return to_images(noisy)

    def _group(self, questions: Sequence[Question]) -> Group:
        bound = self.adapter.bind(questions)
        return Group(
            bound=bound,
            pixels=bound.batch.pixels(),
            seeds=[question_seed(self.seed, question.id) for question in questions],
        )


def _searched(
    threat: Threat, group: Group, watch: Watch | None, rows: Sequence[int]
) -> Sequence[AttackResult]:
    bound = group.bound if len(rows) == len(group.seeds) else group.bound.select(rows)
    return threat.search(bound, [group.seeds[row] for row in rows], watch=watch)


def uniform_noise(group: Group, index: int = 0) -> torch.Tensor:
    """Noise [B, 3, H, W] uniform in [-1, 1], from the questions' seeds."""
    draws = [
        torch.rand(group.pixels.shape[1:], generator=torch.Generator().manual_seed(seed % 2**62 + index))
        for seed in group.seeds
    ]
    return (2 * torch.stack(draws) - 1).to(group.pixels)


def newly_broken(before: Sequence[Trial], after: Sequence[Trial]) -> int:
    """How many questions stand before and not after."""
    return sum(not a.broken and b.broken for a, b in zip(before, after, strict=True))


def standing(trials: Sequence[Trial]) -> int:
    """How many questions stand."""
    return sum(not trial.broken for trial in trials)

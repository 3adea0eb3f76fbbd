"""Models whose answers are random: noticed, attacked through their expectation, judged repeatedly."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self

import torch

from medrobust_bench.models.adapter import Answer, Focus, ReferenceLoss, RivalLeads
from medrobust_bench.models.delegated import DelegatedQuestions
from medrobust_bench.models.pixels import to_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions
    from medrobust_bench.records import ModelRecord

DRAWS = 20
"""Passes per loss, gradient and verdict of a randomised model, as in the `rand` version of AutoAttack."""


_SAME = 1e-4  # logits; AutoAttack's check for randomness uses the same
_TRIED = 4


def settled(adapter: Adapter, questions: Sequence[Question]) -> Adapter:
    """The adapter, or its expectation where its scores are random.

    Args:
        adapter: the model.
        questions: of one image shape; the first few are scored twice.
    """
    return RandomisedVLM(adapter) if is_randomised(adapter.bind(questions[:_TRIED])) else adapter


def is_randomised(bound: BoundQuestions) -> bool:
    """Whether the same images give different scores twice in a row."""
    pixels = to_pixels(bound.images, bound.device)
    with torch.no_grad():
        first, second = bound.option_logits(pixels), bound.option_logits(pixels)
    return not torch.allclose(first, second, rtol=0, atol=_SAME, equal_nan=True)


class RandomisedVLM:
    """A randomised model as what it does on average; see `ExpectedQuestions`.

    Args:
        base: the model.
        draws: passes per image.
    """

    def __init__(self, base: Adapter, draws: int = DRAWS) -> None:
        self._base = base
        self._draws = draws

    @property
    def record(self) -> ModelRecord:
        """That of the model, with the number of draws."""
        return self._base.record.model_copy(update={"draws": self._draws})

    @property
    def differentiable(self) -> bool:
        """As the model."""
        return self._base.differentiable

    def bind(self, questions: Sequence[Question]) -> ExpectedQuestions:
        """See `Adapter.bind`."""
        return ExpectedQuestions(self._base.bind(questions), self._draws)


class ExpectedQuestions(DelegatedQuestions):
    """Questions bound to a randomised model, as what it does on average.

    Losses and gradients are means over draws (expectation over transformation, Athalye et al. 2018,
    arXiv:1707.07397). An answer is the most frequent of as many verdicts, the earliest among equals: a single unlucky
    draw breaks no question.

    Args:
        bound: B questions.
        draws: passes per image.
    """

    def __init__(self, bound: BoundQuestions, draws: int = DRAWS) -> None:
        super().__init__(bound)
        self._draws = draws

    def around(self, bound: BoundQuestions) -> Self:
        """See `DelegatedQuestions.around`; with as many draws."""
        return type(self)(bound, self._draws)

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Mean scores [B, K]; see `BoundQuestions.option_logits`."""
        return torch.stack([self._bound.option_logits(pixels) for _ in range(self._draws)]).mean(0)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """Mean loss; there is doubt as soon as there is under one draw; it has left where it has under most."""
        losses = [self._bound.reference_loss(pixels, answers) for _ in range(self._draws)]
        return ReferenceLoss(
            nll=torch.stack([loss.nll for loss in losses]).mean(0),
            doubt=torch.stack([loss.doubt for loss in losses]).any(0),
            left=torch.stack([loss.left for loss in losses]).float().mean(0) > 0.5,
        )

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """Mean leads; doubt and left as in `reference_loss`."""
        rivals = [
            self._bound.rival_leads(pixels, answers, focus=focus, said=said) for _ in range(self._draws)
        ]
        return RivalLeads(
            leads=torch.stack([rival.leads for rival in rivals]).mean(0),
            doubt=torch.stack([rival.doubt for rival in rivals]).any(0),
            left=torch.stack([rival.left for rival in rivals]).float().mean(0) > 0.5,
        )

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """The most frequent of several answers to each image; see `BoundQuestions.answer`."""
        rounds = [self._bound.answer(images) for _ in range(self._draws)]
        return [_most_frequent(answers) for answers in zip(*rounds, strict=True)]

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """The same; see `BoundQuestions.answer_together`."""
        rounds = [self._bound.answer_together(images) for _ in range(self._draws)]
        return [_most_frequent(answers) for answers in zip(*rounds, strict=True)]


def _most_frequent(answers: Sequence[Answer]) -> Answer:
    choice, _count = Counter(answer.choice for answer in answers).most_common(1)[0]
    return next(answer for answer in answers if answer.choice == choice)

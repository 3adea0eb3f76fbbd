"""Counting what a model is asked to do, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from medrobust_bench.models.adapter import Focus
from medrobust_bench.models.delegated import DelegatedQuestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions, ReferenceLoss, RivalLeads


@dataclass
class Meter:
    """Image passes so far: a batch of 8 counts 8, a generated answer 1."""

    forward_passes: int = 0
    backward_passes: int = 0


class MeteredQuestions(DelegatedQuestions):
    """A `BoundQuestions` that counts; a call whose pixels require a gradient counts one backward pass as well.

    Args:
        bound: B questions.
        meter: counts for these and for whatever is selected of them.
    """

    def __init__(self, bound: BoundQuestions, meter: Meter) -> None:
        super().__init__(bound)
        self._meter = meter

    def around(self, bound: BoundQuestions) -> Self:
        """See `DelegatedQuestions.around`; counts into the same meter."""
        return type(self)(bound, self._meter)

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions.option_logits`."""
        self._count(pixels)
        return super().option_logits(pixels)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """See `BoundQuestions.reference_loss`."""
        self._count(pixels)
        return super().reference_loss(pixels, answers)

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """See `BoundQuestions.rival_leads`."""
        self._count(pixels)
        return super().rival_leads(pixels, answers, focus=focus, said=said)

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """See `BoundQuestions.answer`."""
        self._meter.forward_passes += len(images)
        return super().answer(images)

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """See `BoundQuestions.answer_together`."""
        self._meter.forward_passes += len(images)
        return super().answer_together(images)

    def _count(self, pixels: torch.Tensor) -> None:
        self._meter.forward_passes += len(pixels)
        self._meter.backward_passes += len(pixels) if pixels.requires_grad else 0

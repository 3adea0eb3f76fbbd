"""Counting what a model is asked to do, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.models.adapter import Focus

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


class MeteredQuestions:
    """A `BoundQuestions` that counts; a call whose pixels require a gradient counts one backward pass as well."""

    def __init__(self, bound: BoundQuestions, meter: Meter) -> None:
        self.questions = bound.questions
        self._bound = bound
        self._meter = meter

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """The clean canonical images."""
        return self._bound.images

    @property
    def device(self) -> torch.device:
        """See `BoundQuestions.device`."""
        return self._bound.device

    @property
    def generates(self) -> bool:
        """See `BoundQuestions.generates`."""
        return self._bound.generates

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions.option_logits`."""
        self._count(pixels)
        return self._bound.option_logits(pixels)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """See `BoundQuestions.reference_loss`."""
        self._count(pixels)
        return self._bound.reference_loss(pixels, answers)

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
        return self._bound.rival_leads(pixels, answers, focus=focus, said=said)

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """See `BoundQuestions.answer`."""
        self._meter.forward_passes += len(images)
        return self._bound.answer(images)

    def select(self, rows: Sequence[int]) -> MeteredQuestions:
        """See `BoundQuestions.select`; counts into the same meter."""
        return MeteredQuestions(self._bound.select(rows), self._meter)

    def _count(self, pixels: torch.Tensor) -> None:
        self._meter.forward_passes += len(pixels)
        self._meter.backward_passes += len(pixels) if pixels.requires_grad else 0

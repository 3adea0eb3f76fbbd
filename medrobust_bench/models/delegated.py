"""Bound questions that pass on what they are asked: what watches, counts or repeats overrides only that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from medrobust_bench.models.adapter import Focus

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions, ReferenceLoss, RivalLeads


class DelegatedQuestions:
    """A `BoundQuestions` that answers by another one.

    Args:
        bound: B questions.
    """

    def __init__(self, bound: BoundQuestions) -> None:
        self.questions = bound.questions
        self._bound = bound

    def around(self, bound: BoundQuestions) -> Self:
        """The same around other questions of the model."""
        return type(self)(bound)

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """See `BoundQuestions.images`."""
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
        return self._bound.option_logits(pixels)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """See `BoundQuestions.reference_loss`."""
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
        return self._bound.rival_leads(pixels, answers, focus=focus, said=said)

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """See `BoundQuestions.answer`."""
        return self._bound.answer(images)

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """See `BoundQuestions.answer_together`."""
        return self._bound.answer_together(images)

    def select(self, rows: Sequence[int]) -> Self:
        """See `BoundQuestions.select`."""
        return self.around(self._bound.select(rows))

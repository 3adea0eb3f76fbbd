"""A bound batch that remembers the images on an attack's path at which the model had left its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.models.adapter import Focus

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions, ReferenceLoss, RivalLeads

KEPT = 3
"""Images kept per question: the last ones."""


class WatchedQuestions:
    """A `BoundQuestions` that keeps, per question, the last images whose loss was that of a wrong answer.

    Args:
        bound: B questions.
        seen: by question id; shared with what `select` gives.
    """

    def __init__(
        self, bound: BoundQuestions, seen: dict[str, list[NDArray[np.float32]]] | None = None
    ) -> None:
        self.questions = bound.questions
        self.seen: dict[str, list[NDArray[np.float32]]] = {} if seen is None else seen
        self._bound = bound

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
        return self._bound.option_logits(pixels)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """See `BoundQuestions.reference_loss`."""
        loss = self._bound.reference_loss(pixels, answers)
        self._watch(pixels, loss.left)
        return loss

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """See `BoundQuestions.rival_leads`."""
        rivals = self._bound.rival_leads(pixels, answers, focus=focus, said=said)
        self._watch(pixels, rivals.left)
        return rivals

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """See `BoundQuestions.answer`."""
        return self._bound.answer(images)

    def select(self, rows: Sequence[int]) -> WatchedQuestions:
        """See `BoundQuestions.select`."""
        return WatchedQuestions(self._bound.select(rows), self.seen)

    def _watch(self, pixels: torch.Tensor, left: torch.Tensor) -> None:
        for question, image, gone in zip(self.questions, pixels.detach(), left.tolist(), strict=True):
            if gone:
                kept = self.seen.setdefault(question.id, [])
                kept.append(image.permute(1, 2, 0).cpu().numpy())
                del kept[:-KEPT]

"""A bound batch that remembers the images on an attack's path at which the model had left its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from medrobust_bench.models.adapter import Focus
from medrobust_bench.models.delegated import DelegatedQuestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions, ReferenceLoss, RivalLeads

KEPT = 3
"""Images kept per question: the last ones."""


class WatchedQuestions(DelegatedQuestions):
    """A `BoundQuestions` that keeps, per question, the last images whose loss was that of a wrong answer.

    Args:
        bound: B questions.
        seen: by question id; shared with what `select` gives.
    """

    def __init__(
        self, bound: BoundQuestions, seen: dict[str, list[NDArray[np.float32]]] | None = None
    ) -> None:
        super().__init__(bound)
        self.seen: dict[str, list[NDArray[np.float32]]] = {} if seen is None else seen

    def around(self, bound: BoundQuestions) -> Self:
        """See `DelegatedQuestions.around`; remembers in the same place."""
        return type(self)(bound, self.seen)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """See `BoundQuestions.reference_loss`."""
        loss = super().reference_loss(pixels, answers)
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
        rivals = super().rival_leads(pixels, answers, focus=focus, said=said)
        self._watch(pixels, rivals.left)
        return rivals

    def _watch(self, pixels: torch.Tensor, left: torch.Tensor) -> None:
        for question, image, gone in zip(self.questions, pixels.detach(), left.tolist(), strict=True):
            if gone:
                kept = self.seen.setdefault(question.id, [])
                kept.append(image.permute(1, 2, 0).cpu().numpy())
                del kept[:-KEPT]

"""The estimator through which ART attacks bound questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.threats.search import Search


class QuestionEstimator(ClassifierMixin, LossGradientsMixin, BaseEstimator):  # type: ignore[misc]
    """Bound questions as ART sees a classifier.

    ART's attacks return their last iterate and do not stop at success. Since every gradient passes through
    here, the search behind it keeps the best iterate, verifies successes on the deployed path, and answers zero
    gradient for a broken question, without a pass through the model.

    The estimator belongs to one batch: row i of any input is question i.

    Args:
        bound: B questions.
        search: the ledger over the same questions.
        device: where the pixels live.
    """

    all_framework_preprocessing = True

    def __init__(self, bound: BoundQuestions, search: Search, device: torch.device) -> None:
        super().__init__(model=bound, clip_values=(0.0, 1.0), preprocessing=None)
        self._search = search
        self._device = device
        self.nb_classes = max(len(question.options) for question in bound.questions)

    @property
    def device(self) -> torch.device:
        """Where ART puts its tensors."""
        return self._device

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (3, H, W) of one image."""
        height, width, channels = self.model.images[0].shape
        return channels, height, width

    def loss_gradient(self, x: torch.Tensor, y: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """Gradient of the reference loss, which an untargeted attack ascends.

        Args:
            x: [B, 3, H, W] float32 in [0, 1].
            y: ignored: the search knows the right answers.
            kwargs: ignored; ART passes settings of its own estimators.

        Returns:
            [B, 3, H, W], zero for broken questions.
        """
        return self._search.gradient(x)

    def predict(self, x: NDArray[np.float32], batch_size: int = 128, **kwargs: object) -> NDArray[np.float32]:
        """Option logits [B, K] of images [B, 3, H, W], -inf where a question has fewer options."""
        with torch.inference_mode():
            logits: NDArray[np.float32] = (
                self.model.option_logits(torch.from_numpy(x).to(self._device)).float().cpu().numpy()
            )
        return logits

    def fit(self, x: object, y: object, **kwargs: object) -> None:
        """Not possible: the benchmark never trains the model that it attacks."""
        raise NotImplementedError("a question estimator is for evaluation only")

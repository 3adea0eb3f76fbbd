"""The estimators through which ART attacks bound questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin

from medrobust_bench.attacks.art_hooks import check_art

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medrobust_bench.attacks.search import Search
    from medrobust_bench.models.adapter import Batch, BoundQuestions

_SMALLEST = np.finfo(np.float32).tiny

check_art()


class GradientSource(Protocol):
    """Gives the gradient of a loss in the pixels."""

    def gradient(self, pixels: torch.Tensor) -> torch.Tensor:
        """Gradient [B, 3, H, W] of the loss that is ascended, at images [B, 3, H, W] in [0, 1]."""
        ...


class QuestionEstimator(ClassifierMixin, NeuralNetworkMixin, BaseEstimator):  # type: ignore[misc]
    """Bound questions as ART sees a classifier.

    ART's attacks return their last iterate and do not stop at success. Since every image that they try passes
    through here, the search behind it keeps the best one, verifies successes on the deployed path, and answers
    zero gradient for a broken question, without a pass through the model.

    The estimator belongs to one batch: row i of any input is question i.

    Args:
        bound: B questions.
    """

    all_framework_preprocessing = True

    def __init__(self, bound: BoundQuestions) -> None:
        # Of a model ART only resets the parameters' gradients, and here parameters have none.
        model = torch.nn.Identity()
        super().__init__(model=model, clip_values=(0.0, 1.0), preprocessing=None, channels_first=True)
        self._batch: Batch = bound.batch
        self.nb_classes = max(len(question.options) for question in self._batch.questions)

    @property
    def device(self) -> torch.device:
        """Where ART puts its tensors."""
        return self._batch.device

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (3, H, W) of one image."""
        return 3, *self._batch.shape

    @property
    def labels(self) -> NDArray[np.float32]:
        """One-hot labels [B, K] to hand to ART: class 0 for every question, see `predict`."""
        return np.eye(self.nb_classes, dtype=np.float32)[np.zeros(len(self._batch), dtype=int)]

    def predict(self, x: NDArray[np.float32], batch_size: int = 128, **kwargs: object) -> NDArray[np.float32]:
        """Class 0 for every image, whatever it shows.

        ART predicts only to keep books on what it has broken, with class 0 as the right one here. Those books are
        the search's, which asks the deployed path; in ART's no question is ever broken.
        """
        scores = np.full((len(x), self.nb_classes), -1.0, dtype=np.float32)
        scores[:, 0] = 1.0
        return scores

    def fit(self, x: object, y: object, **kwargs: object) -> None:
        """Not possible: the benchmark never trains the model that it attacks."""
        raise NotImplementedError("a question estimator is for evaluation only")

    def get_activations(self, x: object, layer: object, batch_size: int, framework: bool = False) -> None:
        """Not possible: the model is known by its answers and gradients only."""
        raise NotImplementedError("a question estimator has no layers")


class TensorEstimator(LossGradientsMixin, QuestionEstimator):  # type: ignore[misc]
    """For attacks on tensors that ask for a gradient once per step.

    Args:
        bound: B questions.
        source: gives the gradient; in an evaluation, the search over the same questions.
    """

    def __init__(self, bound: BoundQuestions, source: GradientSource) -> None:
        super().__init__(bound)
        self._source = source

    def loss_gradient(self, x: torch.Tensor, y: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """Gradient of the loss, which an untargeted attack ascends.

        Args:
            x: [B, 3, H, W] float32 in [0, 1].
            y: ignored: the loss knows the right answers.
            kwargs: ignored; ART passes settings of its own estimators.

        Returns:
            [B, 3, H, W], zero for broken questions.
        """
        return self._source.gradient(x)


class RememberingEstimator(LossGradientsMixin, QuestionEstimator):  # type: ignore[misc]
    """For attacks on arrays that ask for the loss and for the gradient at one image separately, and more than once.

    Per question the last image and the best one so far are remembered, so that each costs one pass.

    Args:
        bound: B questions.
        search: the ledger over the same questions.
        gradients: whether gradients will be asked for; each loss is then computed together with its gradient.
    """

    def __init__(self, bound: BoundQuestions, search: Search, *, gradients: bool) -> None:
        super().__init__(bound)
        self._search = search
        self._gradients = gradients
        shape = (len(self._batch), *self.input_shape)
        self._images = np.full((2, *shape), np.nan, dtype=np.float32)  # equal to no image, not even to itself
        self._losses = np.full((2, shape[0]), -np.inf)
        self._slopes = np.zeros((2, *shape) if gradients else (2, 1), dtype=np.float32)

    def compute_loss(self, x: NDArray[np.float32], y: object, **kwargs: object) -> NDArray[np.float64]:
        """The loss [B] at images [B, 3, H, W]; zero for broken questions.

        ART's Auto-PGD ends a batch once every loss is exactly zero: just what is wanted here, so that an open
        question is never reported as exactly zero.
        """
        slots = self._slots(x)
        losses: NDArray[np.float64] = np.take_along_axis(self._losses, slots[None], axis=0)[0]
        return losses

    def loss_gradient(self, x: NDArray[np.float32], y: object, **kwargs: object) -> NDArray[np.float32]:
        """Gradient [B, 3, H, W] of the loss at images [B, 3, H, W], zero for broken questions."""
        slots = self._slots(x)
        slopes: NDArray[np.float32] = self._slopes[slots, np.arange(len(x))]
        return slopes

    def _slots(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Per question where its image is remembered: 0 last, 1 best; an image that is in neither is tried."""
        known = (self._images == x).all(axis=(2, 3, 4))
        if not known.any(axis=0).all():
            self._try(x, np.flatnonzero(~known.any(axis=0)))
            known = (self._images == x).all(axis=(2, 3, 4))
        slots: NDArray[np.int64] = known.argmax(axis=0)
        return slots

    def _try(self, x: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        open_rows = np.isin(np.arange(len(x)), self._search.open_rows)
        values, slopes = self._search.measure(
            torch.from_numpy(x).to(self.device), gradient=self._gradients, among=rows.tolist()
        )
        losses = values.cpu().double().numpy()
        losses[open_rows & (losses == 0)] = _SMALLEST
        self._images[0, rows], self._losses[0, rows] = x[rows], losses[rows]
        if self._gradients:
            self._slopes[0, rows] = slopes.cpu().numpy()[rows]
        better = rows[losses[rows] > self._losses[1, rows]]
        for remembered in (self._images, self._losses, *((self._slopes,) if self._gradients else ())):
            remembered[1, better] = remembered[0, better]

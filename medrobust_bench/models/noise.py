"""Answers to one question under Gaussian noise: the sampling behind PREDICT and CERTIFY of randomized smoothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.stats import binomtest

from medrobust_bench.models.memory import MemoryLimit
from medrobust_bench.models.pixels import LEVELS, to_images
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions

Base = Literal["likelihood", "generate"]


class NoisyQuestion:
    """One question whose image is under independent noise N(0, σ²) on every value, pixels in [0, 1].

    With base "likelihood", the base classifier f answers with the option of highest likelihood; an image whose scores
    are not finite has no parsable answer, which is a class of its own. The noisy image is *not* clipped before it
    enters f: the noise is exactly Gaussian, and whatever the model's own processor then clips, rounds or resizes is
    part of f, about which the theorem assumes nothing but that it is a function of x. With base "generate", f rounds
    the noisy image to 8 bits, clips it, and answers it as the deployed path does, in batches of `batch_size`;
    unparsable is a class of its own.

    Memory does not grow with the number of draws.

    Args:
        bound: one question.
        sigma: standard deviation of the noise.
        seed: of the question, not negative; draw j of a phase comes from (seed, phase, j) alone.
        base: the base classifier.
        batch_size: noisy images per forward pass at most; does not change what is drawn.
        image: uint8 [H, W, 3], x; unset, the question's clean image.
    """

    def __init__(
        self,
        bound: BoundQuestions,
        *,
        sigma: float,
        seed: int,
        base: Base = "likelihood",
        batch_size: int = 32,
        image: NDArray[np.uint8] | None = None,
    ) -> None:
        (self._question,), (clean,) = bound.batch.questions, bound.batch.images
        self._bound = bound
        self._batches: dict[int, BoundQuestions] = {}
        self._memory = MemoryLimit()
        self._n_options = len(self._question.options)
        self._image = np.moveaxis(clean if image is None else image, 2, 0).astype(np.float32) / LEVELS
        self._sigma = sigma
        self._seed = seed
        self._base: Base = base
        self._batch_size = batch_size

    def predict(self, *, n: int, alpha: float) -> int | None:
        """PREDICT: the most frequent answer, right with probability at least 1 − alpha, or None.

        None (abstain, or unparsable) unless the two most frequent answers differ significantly (two-sided binomial
        test).
        """
        counts = self.counts(Purpose.PREDICTION, n)
        runner_up, top = np.argsort(counts, kind="stable")[-2:]
        n_top, n_runner_up = int(counts[top]), int(counts[runner_up])
        if binomtest(n_top, n_top + n_runner_up, 0.5).pvalue > alpha or top == self._n_options:
            return None
        return int(top)

    def counts(self, purpose: Purpose, draws: int, *, after: int = 0) -> NDArray[np.int64]:
        """How often f answers each option, and last how often unparsably, in draws `after` to `draws` of a phase."""
        # Summed where the model is and fetched once: a GPU computes while the next noise is drawn.
        total = torch.zeros(self._n_options + 1, dtype=torch.int64)
        for noisy in self._noisy_batches(purpose, after, draws):
            answers = torch.stack(self._memory.run(partial(self._answers, noisy), range(len(noisy))))
            classes = torch.arange(len(total), device=answers.device)
            total = total.to(answers.device) + (answers.unsqueeze(1) == classes).sum(dim=0)
        counts: NDArray[np.int64] = total.cpu().numpy()
        return counts

    def _answers(self, noisy: NDArray[np.float32], rows: Sequence[int]) -> Sequence[torch.Tensor]:
        """What f answers to these of the noisy images [batch, 3, H, W]; the number of options: unparsable."""
        bound, noisy = self._batch(len(rows)), noisy[rows[0] : rows[-1] + 1]
        if self._base == "generate":
            given = bound.answer(to_images(torch.from_numpy(noisy)), exact=False)
            choices = [self._n_options if answer.choice is None else answer.choice for answer in given]
            return torch.tensor(choices).unbind()
        with torch.no_grad():
            logits = bound.scores(torch.from_numpy(noisy).to(bound.batch.device))
        scores = logits[:, : self._n_options].float()
        chosen = scores.argmax(dim=1).masked_fill(~scores.isfinite().all(dim=1), self._n_options)
        return chosen.unbind()

    def _batch(self, size: int) -> BoundQuestions:
        """The question `size` times; full batches, the usual case, are bound once."""
        if size not in self._batches:
            bound = self._bound.select([0] * size)
            if size < self._batch_size:
                return bound
            self._batches[size] = bound
        return self._batches[size]

    def _noisy_batches(self, purpose: Purpose, after: int, draws: int) -> Iterator[NDArray[np.float32]]:
        """The noisy images of a phase, [batch, 3, H, W], in order of draws."""
        for first in range(after, draws, self._batch_size):
            size = min(self._batch_size, draws - first)
            noisy = np.empty((size, *self._image.shape), dtype=np.float32)
            for row, image in enumerate(noisy):
                stream(self._seed, purpose, first + row).standard_normal(dtype=np.float32, out=image)
            noisy *= np.float32(self._sigma)
            noisy += self._image
            yield noisy

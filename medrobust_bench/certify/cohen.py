"""Randomized smoothing: CERTIFY and PREDICT of Cohen, Rosenfeld and Kolter (2019), arXiv:1902.02918."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from scipy.stats import beta, binomtest, norm

from medrobust_bench.results.schema import Record
from medrobust_bench.threats.randomness import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.threats.specification import CertificationSpec


class Certificate(Record):
    """A certified prediction with all that is needed to recompute it."""

    prediction: int | None = Field(
        description="Index of the option; null: the smoothed model abstains (wrong)"
    )
    radius: float = Field(
        description="Radius of the open L2 ball in which the prediction holds, pixels in [0, 1]; 0: abstains"
    )
    selection_counts: tuple[int, ...] = Field(
        description="Answers in the n0 selection draws, per option and, last, unparsable"
    )
    estimation_counts: tuple[int, ...] = Field(description="The same in the n estimation draws")
    n0: int = Field(description="Selection draws")
    n: int = Field(description="Estimation draws")
    alpha: float = Field(description="Probability that the certificate is wrong")
    sigma: float = Field(description="Standard deviation of the noise, pixels in [0, 1]")
    seed: int = Field(description="Of the question; any draw can be repeated from it alone")
    height: int = Field(description="Of the canonical image that the radius refers to")
    width: int = Field(description="Of the same image")

    def certifies(self, answer: int, radius: float) -> bool:
        """Whether the smoothed model provably gives this answer at every image closer than `radius`."""
        return self.prediction == answer and self.radius >= radius


@dataclass(frozen=True, slots=True)
class Certification:
    """Certification to a published specification, with fixed numbers of draws.

    Attributes:
        spec: the published specification.
    """

    spec: CertificationSpec

    @property
    def needs_gradient(self) -> bool:
        """Never."""
        return False

    def certify(self, bound: BoundQuestions, seed: int, *, batch_size: int = 32) -> Certificate:
        """Certify one question.

        Args:
            bound: one question.
            seed: not negative; all randomness comes from it.
            batch_size: noisy images per forward pass; does not change what is drawn.
        """
        spec = self.spec
        smoothed = SmoothedQuestion(bound, sigma=float(spec.sigma), seed=seed, batch_size=batch_size)
        return smoothed.certify(n0=spec.n0, n=spec.n, alpha=float(spec.alpha))


class SmoothedQuestion:
    """The smoothed classifier g of one question.

    g(x) is the answer that the base classifier f gives most often when independent noise N(0, σ²) is added to
    every value of the canonical image, pixels in [0, 1]. f is the option of highest likelihood; an image whose
    scores are not finite has no parsable answer, which is a class of its own. The noisy image is *not* clipped
    before it enters f: the noise is exactly Gaussian, and whatever the model's own processor then clips,
    rounds or resizes is part of f, about which the theorem assumes nothing but that it is a function of x.

    Guarantee (Theorem 1 and Proposition 2 of the paper): with probability at least 1 − α over the draws,
    either `certify` abstains, or g(x + δ) is its prediction for every ‖δ‖₂ < radius. Like the published code it
    uses the two-class bound p_B ≤ 1 − p_A, hence radius = σ·Φ⁻¹(p̲_A).

    Memory does not grow with the number of draws.

    Args:
        bound: one question.
        sigma: standard deviation of the noise.
        seed: of the question, not negative; draw j of a phase comes from (seed, phase, j) alone.
        batch_size: noisy images per forward pass.
    """

    def __init__(self, bound: BoundQuestions, *, sigma: float, seed: int, batch_size: int = 32) -> None:
        (question,), (image,) = bound.questions, bound.images
        self._bound = bound
        self._n_options = len(question.options)
        self._image = np.moveaxis(image, 2, 0).astype(np.float32) / 255
        self._sigma = sigma
        self._seed = seed
        self._batch_size = batch_size

    def certify(self, *, n0: int, n: int, alpha: float) -> Certificate:
        """Predict with a certified L2 radius, or abstain.

        Args:
            n0: draws that select the candidate.
            n: further draws that bound its probability from below.
            alpha: probability that the certificate is wrong.
        """
        selection = self.counts(Purpose.SELECTION, n0)
        estimation = self.counts(Purpose.ESTIMATION, n)
        candidate = int(selection.argmax())
        radius = certified_radius(int(estimation[candidate]), n, alpha=alpha, sigma=self._sigma)
        certified = radius > 0 and candidate < self._n_options
        height, width = self._image.shape[1:]
        return Certificate(
            prediction=candidate if certified else None,
            radius=radius if certified else 0.0,
            selection_counts=tuple(selection.tolist()),
            estimation_counts=tuple(estimation.tolist()),
            n0=n0,
            n=n,
            alpha=alpha,
            sigma=self._sigma,
            seed=self._seed,
            height=height,
            width=width,
        )

    def predict(self, *, n: int, alpha: float) -> int | None:
        """The answer of g, right with probability at least 1 − alpha, or None (abstain, or unparsable).

        Abstains unless the two most frequent answers differ significantly (two-sided binomial test).
        """
        counts = self.counts(Purpose.PREDICTION, n)
        runner_up, top = np.argsort(counts, kind="stable")[-2:]
        n_top, n_runner_up = int(counts[top]), int(counts[runner_up])
        if binomtest(n_top, n_top + n_runner_up, 0.5).pvalue > alpha or top == self._n_options:
            return None
        return int(top)

    def counts(self, purpose: Purpose, draws: int) -> NDArray[np.int64]:
        """How often f answers each option, and last how often unparsably, in the first draws of a phase."""
        total = np.zeros(self._n_options + 1, dtype=np.int64)
        for noisy in self._noisy_batches(purpose, draws):
            with torch.no_grad():
                logits = self._bound.select([0] * len(noisy)).option_logits(noisy)
            scores = logits[:, : self._n_options].float()
            chosen = scores.argmax(dim=1)
            chosen[~scores.isfinite().all(dim=1)] = self._n_options
            total += np.bincount(chosen.cpu().numpy(), minlength=len(total))
        return total

    def _noisy_batches(self, purpose: Purpose, draws: int) -> Iterator[torch.Tensor]:
        """The noisy images of a phase, [batch, 3, H, W], in order of draws."""
        for first in range(0, draws, self._batch_size):
            indices = range(first, min(first + self._batch_size, draws))
            noise = np.stack(
                [
                    stream(self._seed, purpose, index).standard_normal(self._image.shape, dtype=np.float32)
                    for index in indices
                ]
            )
            yield torch.from_numpy(self._image + np.float32(self._sigma) * noise)


def lower_confidence_bound(successes: int, trials: int, alpha: float) -> float:
    """One-sided Clopper–Pearson bound: with probability at least 1 − alpha not above the true probability."""
    return 0.0 if successes == 0 else float(beta.ppf(alpha, successes, trials - successes + 1))


def certified_radius(successes: int, trials: int, *, alpha: float, sigma: float) -> float:
    """σ·Φ⁻¹ of the lower confidence bound; 0 where the bound does not exceed one half."""
    bound = lower_confidence_bound(successes, trials, alpha)
    return sigma * float(norm.ppf(bound)) if bound > 0.5 else 0.0

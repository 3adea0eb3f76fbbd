"""Randomized smoothing: CERTIFY and PREDICT of Cohen, Rosenfeld and Kolter (2019), arXiv:1902.02918."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.stats import binomtest

from medrobust_bench.certify.certificate import Certificate, Look, certified_radius
from medrobust_bench.certify.sequential import decided, plan_looks
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.certify.sequential import PlannedLook
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.certification import CertificationSpec

Base = Literal["likelihood", "generate"]


@dataclass(frozen=True, slots=True)
class Certification:
    """Certification to a published specification.

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
            batch_size: noisy images per forward pass at most; does not change what is drawn.
        """
        spec = self.spec
        smoothed = SmoothedQuestion(
            bound, sigma=float(spec.sigma), seed=seed, base=spec.base, batch_size=batch_size
        )
        return smoothed.certify(
            n0=spec.n0,
            n=spec.n,
            alpha=float(spec.alpha),
            looks=spec.looks,
            radii=[float(radius) for radius in spec.radii],
        )


class SmoothedQuestion:
    """The smoothed classifier g of one question.

    g(x) is the answer that the base classifier f gives most often when independent noise N(0, σ²) is added to
    every value of the canonical image, pixels in [0, 1].

    With base "likelihood", f is the option of highest likelihood; an image whose scores are not finite has no
    parsable answer, which is a class of its own. The noisy image is *not* clipped before it enters f: the noise is
    exactly Gaussian, and whatever the model's own processor then clips, rounds or resizes is part of f, about
    which the theorem assumes nothing but that it is a function of x. With base "generate", f rounds the noisy
    image to 8 bits, clips it, and answers it as the deployed path does, in batches of `batch_size`; unparsable is a
    class of its own.

    Guarantee (Theorem 1 and Proposition 2 of the paper): with probability at least 1 − α over the draws,
    either `certify` abstains, or g(x + δ) is its prediction for every ‖δ‖₂ < radius. Like the published code it
    uses the two-class bound p_B ≤ 1 − p_A, hence radius = σ·Φ⁻¹(p̲_A).

    Memory does not grow with the number of draws.

    Args:
        bound: one question.
        sigma: standard deviation of the noise.
        seed: of the question, not negative; draw j of a phase comes from (seed, phase, j) alone.
        base: the base classifier.
        batch_size: noisy images per forward pass at most.
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
        (self._question,), (clean,) = bound.questions, bound.images
        self._bound = bound
        self._batches: dict[int, BoundQuestions] = {}
        self._n_options = len(self._question.options)
        self._image = np.moveaxis(clean if image is None else image, 2, 0).astype(np.float32) / 255
        self._sigma = sigma
        self._seed = seed
        self._base: Base = base
        self._batch_size = batch_size

    def certify(
        self, *, n0: int, n: int, alpha: float, looks: int = 1, radii: Sequence[float] = ()
    ) -> Certificate:
        """Certify with an L2 radius, or abstain.

        Args:
            n0: draws that select the candidate; 0: the candidate is the right answer.
            n: further draws that bound its probability from below, at most.
            alpha: probability that the certificate is wrong.
            looks: at how many numbers of draws it may be decided; 1: after n draws, as in the paper.
            radii: grid of radii, ascending, whose decision ends the draws; needed for more than one look.
        """
        selection = self.counts(Purpose.SELECTION, n0)
        candidate = int(selection.argmax()) if n0 else self._question.answer
        plan = plan_looks(n=n, looks=looks, alpha=alpha, radii=tuple(radii) or (0.0,), sigma=self._sigma)
        taken = self._look(plan, candidate, radii)
        radius = max(
            certified_radius(look.counts[candidate], look.n, alpha=look.alpha, sigma=self._sigma)
            for look in taken
        )
        certified = radius > 0 and candidate < self._n_options
        height, width = self._image.shape[1:]
        return Certificate(
            prediction=candidate if certified else None,
            radius=radius if certified else 0.0,
            candidate=candidate,
            selection_counts=tuple(selection.tolist()) if n0 else (),
            looks=tuple(taken),
            n0=n0,
            n=n,
            alpha=alpha,
            sigma=self._sigma,
            base=self._base,
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

    def counts(self, purpose: Purpose, draws: int, *, after: int = 0) -> NDArray[np.int64]:
        """How often f answers each option, and last how often unparsably, in draws `after` to `draws` of a phase."""
        # Summed where the model is and fetched once: a GPU computes while the next noise is drawn.
        total = torch.zeros(self._n_options + 1, dtype=torch.int64)
        for noisy in self._noisy_batches(purpose, after, draws):
            answers = self._answers(noisy)
            classes = torch.arange(len(total), device=answers.device)
            total = total.to(answers.device) + (answers.unsqueeze(1) == classes).sum(dim=0)
        counts: NDArray[np.int64] = total.cpu().numpy()
        return counts

    def _look(self, plan: Sequence[PlannedLook], candidate: int, radii: Sequence[float]) -> list[Look]:
        """Draw from look to look until every radius is certified, the next is out of reach, or the plan ends."""
        taken: list[Look] = []
        counts = np.zeros(self._n_options + 1, dtype=np.int64)
        radius, drawn = 0.0, 0
        for planned in plan:
            counts += self.counts(Purpose.ESTIMATION, planned.n, after=drawn)
            drawn = planned.n
            taken.append(Look(n=planned.n, alpha=planned.alpha, counts=tuple(counts.tolist())))
            if len(plan) == 1:
                break
            successes = int(counts[candidate])
            reached = certified_radius(successes, planned.n, alpha=planned.alpha, sigma=self._sigma)
            radius = max(radius, reached)
            if decided(planned, successes, radius=radius, radii=radii):
                break
        return taken

    def _answers(self, noisy: NDArray[np.float32]) -> torch.Tensor:
        """What f answers to noisy images [batch, 3, H, W]; the number of options stands for unparsable."""
        bound = self._batch(len(noisy))
        if self._base == "generate":
            levels = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
            given = bound.answer_together(list(np.moveaxis(levels, 1, 3)))
            return torch.tensor(
                [self._n_options if answer.choice is None else answer.choice for answer in given]
            )
        with torch.no_grad():
            logits = bound.option_logits(torch.from_numpy(noisy).to(bound.device))
        scores = logits[:, : self._n_options].float()
        return scores.argmax(dim=1).masked_fill(~scores.isfinite().all(dim=1), self._n_options)

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

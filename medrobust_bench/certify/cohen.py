"""Randomized smoothing: CERTIFY of Cohen, Rosenfeld and Kolter (2019), arXiv:1902.02918."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.certify.certificate import Certificate, Look, certified_radius
from medrobust_bench.certify.sequential import decided, plan_looks
from medrobust_bench.models.noise import NoisyQuestion
from medrobust_bench.specs.seeds import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.certify.sequential import PlannedLook
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.certification import CertificationSpec


@dataclass(frozen=True, slots=True)
class Certification:
    """Certification to a published specification.

    Attributes:
        spec: the published specification.
    """

    spec: CertificationSpec

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


class SmoothedQuestion(NoisyQuestion):
    """The smoothed classifier g of one question: the answer that its base classifier gives most often under noise.

    Guarantee (Theorem 1 and Proposition 2 of the paper): with probability at least 1 − α over the draws,
    either `certify` abstains, or g(x + δ) is its prediction for every ‖δ‖₂ < radius. Like the published code it
    uses the two-class bound p_B ≤ 1 − p_A, hence radius = σ·Φ⁻¹(p̲_A).
    """

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

"""The ladder: the only radii that a certification with n draws at level α can report.

A radius is σ·Φ⁻¹(BetaInv(α; k, n − k + 1)) for a whole number k of draws that agree, so between two neighbouring
values of k there is nothing. Neither model nor counts are needed to see that a radius stands on no rung.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import beta, binom, norm

from medrobust_bench.certify.certificate import certified_radius

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

USUAL_ALPHAS = (0.1, 0.05, 0.025, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 1e-5, 1e-6)
USUAL_DRAWS = (100, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 200_000, 1_000_000)


class Ladder(NamedTuple):
    """The radii of one setting.

    Attributes:
        n: estimation draws.
        alpha: level of the Clopper–Pearson bound.
        sigma: standard deviation of the noise.
    """

    n: int
    alpha: float
    sigma: float

    @property
    def top(self) -> float:
        """σ·Φ⁻¹(α^(1/n)): the radius when all draws agree."""
        return certified_radius(self.n, self.n, alpha=self.alpha, sigma=self.sigma)

    def holds(self, radii: NDArray[np.float64], tolerance: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether a rung lies within the tolerance of each positive radius.

        Args:
            radii: [N], positive.
            tolerance: [N], how far the written radius may be from the computed one.
        """
        low = np.maximum(norm.cdf((radii - tolerance) / self.sigma), 0.5)
        high = norm.cdf((radii + tolerance) / self.sigma)
        # The lowest rung whose bound is at least `low`: the least k with P(Binomial(n, low) ≥ k) ≤ α.
        rung = binom.isf(self.alpha, self.n, low).astype(np.int64) + 1
        reachable = rung <= self.n
        rung = np.minimum(rung, self.n)
        bound = beta.ppf(self.alpha, rung, self.n - rung + 1)
        held: NDArray[np.bool_] = reachable & (bound <= high) & (bound > 0.5)
        return held


def fitting_ladders(
    radii: NDArray[np.float64], tolerance: NDArray[np.float64], *, declared: Ladder
) -> list[str]:
    """Which other settings would put every radius on a rung, in words, most likely first.

    Tried are other usual levels, the level at which the largest radius is the top of the ladder, other usual
    numbers of draws, and the share of agreeing draws without any confidence bound. Where rungs stand closer than
    the rounding, much fits, and the level nearest to the implied one comes first.

    Args:
        radii: [N], positive.
        tolerance: [N].
        declared: what does not fit.
    """
    n, _alpha, sigma = declared
    found = [
        f"α = {alpha:g}"
        for alpha in _alphas(radii, declared)
        if _all_on(Ladder(n, alpha, sigma), radii, tolerance)
    ]
    if found:
        return found
    found = [
        f"n = {draws}"
        for draws in USUAL_DRAWS
        if _all_on(Ladder(draws, declared.alpha, sigma), radii, tolerance)
    ]
    if _are_shares(radii, tolerance, n, sigma):
        found.append("the plain share of agreeing draws, without a confidence bound")
    return found


def _all_on(ladder: Ladder, radii: NDArray[np.float64], tolerance: NDArray[np.float64]) -> bool:
    return bool(ladder.holds(radii, tolerance).all())


def _alphas(radii: NDArray[np.float64], declared: Ladder) -> Sequence[float]:
    """Usual levels, those nearest to the one that makes the largest radius the top first, then that level itself."""
    n, alpha, sigma = declared
    implied = float(norm.cdf(radii.max() / sigma)) ** n
    usual = sorted(
        (level for level in USUAL_ALPHAS if level != alpha),
        key=lambda level: abs(np.log(level) - np.log(max(implied, 1e-300))),
    )
    return [*usual, implied] if 0 < implied < 1 else usual


def _are_shares(radii: NDArray[np.float64], tolerance: NDArray[np.float64], n: int, sigma: float) -> bool:
    low, high = norm.cdf((radii - tolerance) / sigma) * n, norm.cdf((radii + tolerance) / sigma) * n
    return bool((np.ceil(low - 1e-9) <= high + 1e-9).all())

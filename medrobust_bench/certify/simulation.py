"""Certifications of questions whose probability under noise is known: what they cost, and how often they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import beta, gamma, norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.certify.sequential import PlannedLook


class Simulated(NamedTuple):
    """Many simulated certifications.

    Attributes:
        radius: [N] certified radii, 0 where nothing is certified.
        draws: [N] estimation draws taken.
        largest: [N] the largest radius that any stopping rule could have claimed: that of all looks of the plan.
    """

    radius: NDArray[np.float64]
    draws: NDArray[np.int64]
    largest: NDArray[np.float64]


def synthetic_population(size: int) -> NDArray[np.float64]:
    """Probabilities of the right answer under noise in a made-up population, [size], ascending; nobody's measurements.

    Depth z = Φ⁻¹(p) is the exact radius in units of σ. A quarter of the questions is mostly lost, z ~ Normal(−1.5, 1),
    three quarters are mostly held, z ~ Gamma(2.5, scale 0.8), which has a mean of two σ. Taken are quantiles at
    equal distances, hence no randomness.

    Args:
        size: number of questions, a multiple of 4.
    """
    lost, held = ((np.arange(n) + 0.5) / n for n in (size // 4, size - size // 4))
    depth = np.concatenate([norm.ppf(lost, -1.5, 1), gamma.ppf(held, 2.5, scale=0.8)])
    probability: NDArray[np.float64] = np.sort(norm.cdf(depth))
    return probability


def simulate(
    probability: NDArray[np.float64],
    plan: Sequence[PlannedLook],
    *,
    radii: Sequence[float],
    sigma: float,
    generator: np.random.Generator,
) -> Simulated:
    """Certify once for each given probability of the candidate under noise.

    Args:
        probability: [N] in [0, 1].
        plan: from `plan_looks` with the same radii and sigma.
        radii: the grid, ascending.
        sigma: standard deviation of the noise.
        generator: of the draws.
    """
    n_questions = len(probability)
    grid = np.asarray(radii)
    successes = np.zeros(n_questions, dtype=np.int64)
    radius, largest = np.zeros(n_questions), np.zeros(n_questions)
    draws = np.zeros(n_questions, dtype=np.int64)
    going = np.ones(n_questions, dtype=bool)
    drawn = 0
    for look in plan:
        successes += generator.binomial(look.n - drawn, probability)
        drawn = look.n
        largest = np.maximum(largest, _radii(successes, look, sigma))
        radius[going] = largest[going]
        draws[going] = look.n
        if len(plan) > 1:
            certified = (radius[:, None] >= grid).sum(axis=1)
            threshold = np.asarray(look.hopeless)[np.minimum(certified, len(grid) - 1)]
            going &= (certified < len(grid)) & (successes > threshold)
    return Simulated(radius, draws, largest)


def _radii(successes: NDArray[np.int64], look: PlannedLook, sigma: float) -> NDArray[np.float64]:
    """`certified_radius` of many counts; equal counts are computed once."""
    if look.alpha == 0:
        return np.zeros(len(successes))
    counts, inverse = np.unique(successes, return_inverse=True)
    bounds = np.where(counts == 0, 0.0, beta.ppf(look.alpha, counts, look.n - counts + 1))
    radii: NDArray[np.float64] = np.where(bounds > 0.5, sigma * norm.ppf(np.maximum(bounds, 0.5)), 0.0)
    return radii[inverse]

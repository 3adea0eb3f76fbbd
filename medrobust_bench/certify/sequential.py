"""When to look at the counts, and when to stop: the same guarantee as with a fixed number of draws, far fewer draws.

**Question.** Is the candidate's probability p under noise above Φ(r/σ), for each radius r of a published grid?
Cohen et al. (2019) draw n times whatever comes. Most questions are decided after a few dozen draws: the model
is nearly always right under noise, or nearly never.

**Procedure** (group-sequential Clopper–Pearson). Looks n_1 < … < n_K = n and levels a_1, …, a_K ≥ 0 with
Σ a_k ≤ α are fixed by the specification, before any draw. At look k, with S_k the number of the first n_k draws
that answer the candidate, L_k = BetaInv(a_k; S_k, n_k − S_k + 1). The radius is σ·Φ⁻¹(max L_k) over the looks taken.

**Proof that it is wrong with probability at most α**, over all looks and all radii together. The candidate does
not depend on the estimation draws (it comes from the selection draws, or is the right answer), so S_k is
Binomial(n_k, p) and the Clopper–Pearson bound gives P(L_k > p) ≤ a_k. By the union bound
P(some k ≤ K has L_k > p) ≤ Σ a_k ≤ α. Outside that event *every* L_k is at most p, hence so is the maximum over
any subset of looks, *however the subset was chosen*: the rule that stops may look at anything. By Theorem 1 of
the paper the smoothed model then gives the candidate at every image closer than σ·Φ⁻¹(max L_k), which covers
every radius up to it at once. ∎

So the rule that stops costs power at most, never soundness. It stops as soon as

- every radius of the grid is certified; or
- the next radius is out of reach: with p* = c/n, where c is the count that the last look would need, the count so
  far is so low that P(Binomial(n_k, p*) ≤ S_k) < `POWER_LOSS` / K. Where p ≥ p*, which is where the last look
  certifies with probability one half or more (an integer mean is a median), the radius is lost that way with
  probability at most `POWER_LOSS`: a larger p makes low counts less likely, and the union bound adds the looks.

**Spending.** Looks form a geometric series from `FIRST_LOOK` to n. The last look gets half of α; the other half is
divided equally among those earlier looks that could certify the smallest radius at all. Looks before them spend
nothing and serve only to give up. A single look is the fixed-n procedure of the paper with the whole of α.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from scipy.stats import binom, norm

from medrobust_bench.certify.certificate import lower_confidence_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_LOOK = 10
LAST_SHARE = 0.5
POWER_LOSS = 0.05


@dataclass(frozen=True, slots=True)
class PlannedLook:
    """When to look, fixed before the first draw.

    Attributes:
        n: draws after which to look.
        alpha: level of the Clopper–Pearson bound at this look; 0 where it only serves to give up.
        hopeless: per radius of the grid, the largest count at which it is given up; −1: at none.
    """

    n: int
    alpha: float
    hopeless: tuple[int, ...]


@lru_cache(maxsize=64)
def plan_looks(
    *, n: int, looks: int, alpha: float, radii: tuple[float, ...], sigma: float
) -> tuple[PlannedLook, ...]:
    """The looks of a certification.

    Args:
        n: draws at the last look.
        looks: how many looks at most; fewer where n is so small that some coincide.
        alpha: failure probability over all looks.
        radii: L2 radii of the grid, ascending, in the unit of sigma.
        sigma: standard deviation of the noise.
    """
    targets = [float(norm.cdf(radius / sigma)) for radius in radii]
    moments = _moments(n, looks)
    levels = _levels(moments, alpha, targets[0])
    needed = [_needed(n, levels[-1], target) for target in targets]
    return tuple(
        PlannedLook(
            moment, level, tuple(_hopeless(moment, count, n, POWER_LOSS / len(moments)) for count in needed)
        )
        for moment, level in zip(moments, levels, strict=True)
    )


def decided(look: PlannedLook, successes: int, *, radius: float, radii: Sequence[float]) -> bool:
    """Whether the draws end at this look: every radius is certified, or the next one is out of reach.

    Args:
        look: the look just taken.
        successes: the candidate's count at it.
        radius: what is certified by then.
        radii: the grid, ascending.
    """
    certified = sum(radius >= target for target in radii)
    return certified == len(radii) or successes <= look.hopeless[certified]


def _moments(n: int, looks: int) -> list[int]:
    """A geometric series of at most `looks` whole numbers from FIRST_LOOK to n."""
    if looks == 1 or n <= FIRST_LOOK:
        return [n]
    ratio = n / FIRST_LOOK
    return sorted({round(FIRST_LOOK * ratio ** (step / (looks - 1))) for step in range(looks)})


def _levels(moments: Sequence[int], alpha: float, easiest: float) -> list[float]:
    """What each look spends: `LAST_SHARE` of alpha at the end, the rest at the looks that can use it."""
    *early, _last = moments
    while early and lower_confidence_bound(early[0], early[0], _share(alpha, early)) <= easiest:
        early = early[1:]
    if not early:
        return [0.0] * (len(moments) - 1) + [alpha]
    silent = len(moments) - 1 - len(early)
    return [0.0] * silent + [_share(alpha, early)] * len(early) + [alpha * LAST_SHARE]


def _share(alpha: float, early: Sequence[int]) -> float:
    return alpha * (1 - LAST_SHARE) / len(early)


def _needed(n: int, alpha: float, target: float) -> int:
    """The smallest count at the last look whose bound exceeds the target; n + 1 where none does."""
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        if lower_confidence_bound(middle, n, alpha) > target:
            high = middle
        else:
            low = middle + 1
    return low


def _hopeless(moment: int, needed: int, n: int, level: float) -> int:
    """The largest count at which the needed one is out of reach."""
    if needed > n:
        return moment
    quantile = int(binom.ppf(level, moment, needed / n))  # the smallest count with a tail of at least `level`
    return quantile - 1

"""Confidence intervals of measured proportions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from statsmodels.stats.proportion import proportion_confint

from medrobust_bench.records.metrics import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records.outcome import Outcome


def clustered(shares: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """Mean of shares with its 95 % Wilson interval for as many independent answers as the clusters are worth.

    The effective number of answers is value·(1 − value) over the cluster-robust variance of the mean (Liang and Zeger
    1986; the interval of Korn and Graubard 1998 with Wilson's in place of Clopper and Pearson's), at most the number of
    shares' clusters where the variance is zero.

    Args:
        shares: one number between 0 and 1 per question, at least one.
        clusters: what each belongs to: questions about one image stand and fall together.
    """
    n = len(shares)
    value = min(1.0, max(0.0, math.fsum(shares) / n))
    sums: dict[str, float] = {}
    for share, cluster in zip(shares, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + share - value
    groups = len(sums)
    variance = math.fsum(total * total for total in sums.values()) / n**2 * groups / max(1, groups - 1)
    effective = value * (1 - value) / variance if variance > 1e-12 else float(groups)
    low, high = proportion_confint(value * effective, effective, alpha=0.05, method="wilson")
    return Estimate(
        value=value, low=min(max(0.0, float(low)), value), high=max(min(1.0, float(high)), value), n=n
    )


def proportion(right: Sequence[bool], outcomes: Sequence[Outcome]) -> Estimate:
    """Proportion of questions with its 95 % interval: Wilson's, clustered by patient or study where those are known.

    Args:
        right: one flag for each outcome.
        outcomes: at least one.
    """
    if any(outcome.group is not None for outcome in outcomes):
        return clustered([float(flag) for flag in right], [outcome.cluster for outcome in outcomes])
    return wilson(sum(right), len(right))


def wilson(successes: int, n: int) -> Estimate:
    """Proportion with its 95 % Wilson score interval (Wilson 1927; Brown, Cai and DasGupta 2001).

    Unlike the normal approximation it stays inside [0, 1] and keeps its coverage near 0 and 1, where
    robust accuracies lie.

    Args:
        successes: number of questions answered right, 0 to `n`.
        n: number of questions, at least 1.

    Raises:
        ValueError: `n` below 1, or `successes` outside 0 to `n`.
    """
    if n < 1:
        raise ValueError(f"an accuracy over {n} questions is undefined")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} right answers among {n} questions")
    value = successes / n
    low, high = proportion_confint(successes, n, alpha=0.05, method="wilson")
    # At 0 and n the exact ends are 0 and 1; rounding may miss them by an ulp on either side.
    return Estimate(
        value=value, low=min(max(0.0, float(low)), value), high=max(min(1.0, float(high)), value), n=n
    )

"""Confidence intervals of measured proportions."""

from __future__ import annotations

from statsmodels.stats.proportion import proportion_confint

from medrobust_bench.records.metrics import Estimate


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

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.records.intervals import wilson

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
counts = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_interval_solves_the_score_equation(drawn: tuple[int, int]) -> None:
    successes, n = drawn
    estimate = wilson(successes, n)
    p = successes / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    assert estimate.low == pytest.approx(centre - half, abs=1e-9)
    assert estimate.high == pytest.approx(centre + half, abs=1e-9)


@given(counts)
def test_interval_holds_the_value_and_stays_a_share(drawn: tuple[int, int]) -> None:
    successes, n = drawn
    estimate = wilson(successes, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert (estimate.value, estimate.n) == (successes / n, n)
    assert estimate.low < estimate.high


@given(counts)
def test_wrong_answers_have_the_mirrored_interval(drawn: tuple[int, int]) -> None:
    successes, n = drawn
    right, wrong = wilson(successes, n), wilson(n - successes, n)
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low), abs=1e-12)


def test_more_questions_narrow_the_interval() -> None:
    few, many = wilson(8, 10), wilson(800, 1000)
    assert many.high - many.low < (few.high - few.low) / 5


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="questions"):
        wilson(successes, n)

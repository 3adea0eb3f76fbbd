"""Intervals over seeds and questions: closed forms, coverage by simulation, and what cannot be estimated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, ttest_rel

from medrobust_bench.reports.seeds import over_seeds


def drawn(rng: np.random.Generator, seeds: int, by_question: np.ndarray, spread: float) -> np.ndarray:
    """Answers of a method whose seeds differ by `spread` and which is right more often on easy questions."""
    skill = spread * rng.standard_normal((seeds, 1))
    return rng.random((seeds, len(by_question))) < (0.5 + skill + by_question).clip(0, 1)


def test_one_checkpoint_is_students_interval_over_questions() -> None:
    right = np.random.default_rng(0).random((1, 60)) < 0.7
    found = over_seeds(right)
    expected = ttest_1samp(right[0].astype(float), 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.deviation is None


def test_two_checkpoints_are_compared_by_the_paired_test() -> None:
    rng = np.random.default_rng(1)
    current, baseline = rng.random((1, 80)) < 0.7, rng.random((1, 80)) < 0.5
    found = over_seeds(current, baseline)
    expected = ttest_rel(current[0].astype(float), baseline[0].astype(float))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(expected.confidence_interval().low)


def test_seeds_that_disagree_everywhere_leave_their_own_degrees_of_freedom() -> None:
    right = np.array([[1] * 1000, [0] * 1000, [1] * 1000])  # all variance is between the seeds
    found = over_seeds(right)
    reach = t.ppf(0.975, 2) * np.sqrt(np.array([1.0, 0, 1]).var(ddof=1) / 3)
    assert found.value == pytest.approx(2 / 3)
    assert (found.low, found.high) == (max(0, 2 / 3 - reach), min(1, 2 / 3 + reach)) == (0, 1)


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.2])
def test_intervals_of_a_difference_cover_it(spread: float) -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(1500):
        by_question = rng.uniform(-0.3, 0.3, 150)
        found = over_seeds(drawn(rng, 3, by_question, spread), drawn(rng, 3, by_question, spread))
        covered.append(found.low <= 0 <= found.high)
    assert np.mean(covered) > 0.93  # nominal 0.95, four deviations of this simulation below it 0.927


def test_questions_of_one_image_count_as_one() -> None:
    rng = np.random.default_rng(3)
    by_image = rng.random((3, 50)) < 0.6
    repeated = np.repeat(by_image, 4, axis=1)
    images = np.repeat(np.arange(50), 4).tolist()
    assert over_seeds(repeated, images=images) == over_seeds(by_image)
    naive = over_seeds(repeated[:1])
    grouped = over_seeds(repeated[:1], images=images)
    assert grouped.high - grouped.low > naive.high - naive.low


def test_what_never_differs_has_no_width() -> None:
    found = over_seeds(np.ones((3, 20)), np.ones((3, 20)))
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("current", "baseline", "images"),
    [
        (np.ones(5), None, None),
        (np.ones((3, 1)), None, None),
        (np.ones((3, 4)), np.ones((3, 5)), None),
        (np.ones((3, 4)), None, [1, 2]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(current: np.ndarray, baseline: object, images: object) -> None:
    with pytest.raises(ValueError, match=r"needed|two or more|questions about"):
        over_seeds(current, baseline, images=images)  # type: ignore[arg-type]

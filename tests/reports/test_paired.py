"""Paired statistics against closed forms, enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from benchmarks.gate_power import failure_rate
from medrobust_bench.reports.paired import (
    Paired,
    difference_interval,
    drop_p_value,
    exact_p_value,
    exchange_p_value,
    no_drop_p_value,
    smallest_detectable,
)


def paired(lost: int, gained: int, n: int) -> Paired:
    baseline = [True] * lost + [False] * gained + [True] * (n - lost - gained)
    current = [False] * lost + [True] * gained + [True] * (n - lost - gained)
    return Paired.of(baseline, current, range(n))


@given(st.integers(0, 40), st.integers(0, 40))
def test_with_one_question_per_image_it_is_mcnemars_exact_test(lost: int, gained: int) -> None:
    expected = mcnemar([[0, lost], [gained, 0]], exact=True).pvalue if lost + gained else 1.0
    assert exact_p_value(paired(lost, gained, 100)) == pytest.approx(min(1.0, expected))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-6, 6)), min_size=1, max_size=9))
def test_shares_are_exchanged_as_whole_images(found: list[tuple[int, int]]) -> None:
    images = [image for image, _ in found]
    shares = [eighths / 8 for _, eighths in found]
    sums = [
        sum(share for own, share in zip(images, shares, strict=True) if own == image) for image in set(images)
    ]
    if any(share % 1 for share in sums):
        sums = [round(100 * share) for share in sums]
    totals = [sum(signed) for signed in itertools.product(*((share, -share) for share in sums))]
    expected = np.mean([abs(total) >= abs(sum(sums)) for total in totals])
    assert exchange_p_value(shares, images) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_of_whole_answers_it_is_the_same_test(answers: list[tuple[bool, bool]]) -> None:
    baseline, current = zip(*answers, strict=True)
    differences = [float(now - before) for before, now in answers]
    images = [place // 2 for place in range(len(answers))]
    expected = exact_p_value(Paired.of(baseline, current, images))
    assert exchange_p_value(differences, images) == pytest.approx(expected)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_with_several_it_is_the_enumeration_of_all_exchanges(differences: list[int]) -> None:
    baseline, current, images = [], [], []
    for image, difference in enumerate(differences):
        for _question in range(max(1, abs(difference))):
            baseline.append(difference < 0)
            current.append(difference > 0)
            images.append(image)
    sizes = [abs(difference) for difference in differences]
    sums = [
        abs(sum(sign * size for sign, size in zip(signs, sizes, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(sizes))
    ]
    expected = np.mean([total >= abs(sum(differences)) for total in sums])
    assert exact_p_value(Paired.of(baseline, current, images)) == pytest.approx(expected)


def test_asking_each_image_three_times_proves_nothing_more() -> None:
    once = paired(12, 3, 60)
    thrice = Paired(np.tile(once.baseline, 3), np.tile(once.current, 3), np.tile(once.images, 3))
    assert thrice.design_effect == pytest.approx(3, rel=0.02)
    assert exact_p_value(thrice) == pytest.approx(exact_p_value(once))
    short, long = difference_interval(once), difference_interval(thrice)
    assert (long.low, long.high) == pytest.approx((short.low, short.high), abs=2e-3)


@given(st.integers(0, 15), st.integers(0, 15), st.integers(30, 200))
def test_the_interval_holds_the_estimate_and_turns_with_the_roles(lost: int, gained: int, n: int) -> None:
    pairs = paired(lost, gained, n)
    there, back = difference_interval(pairs), difference_interval(paired(gained, lost, n))
    assert -1 <= there.low <= pairs.difference <= there.high <= 1
    assert there.low < there.high
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


@pytest.mark.parametrize("cluster", [1, 4])
def test_the_interval_covers_the_truth_as_often_as_it_says(cluster: int) -> None:
    draw = np.random.default_rng(0)
    images, lost, gained, covered, trials = 80, 0.12, 0.05, 0, 400
    for _trial in range(trials):
        fate = np.repeat(draw.random(images), cluster)  # all questions of an image share it
        pairs = Paired(fate < 1 - gained, fate >= lost, np.repeat(np.arange(images), cluster))
        interval = difference_interval(pairs)
        covered += interval.low <= gained - lost <= interval.high
    assert covered / trials >= 0.93


def effective(pairs: Paired) -> tuple[float, float, float]:
    effect = pairs.design_effect
    return pairs.lost / effect, pairs.gained / effect, pairs.n / effect


@pytest.mark.parametrize(
    ("images", "cluster", "drop", "together"),
    [(50, 6, 0.02, 1.0), (50, 6, 0.02, 0.8), (100, 3, 0.02, 0.8), (20, 6, 0.05, 1.0), (20, 6, 0.1, 0.8)],
)
def test_few_images_that_differ_prove_little(images: int, cluster: int, drop: float, together: float) -> None:
    """The fall is exactly the margin: "pass" and an interval that misses it are both wrong."""
    draw = np.random.default_rng(0)
    passed, covered, trials = 0, 0, 400
    for _trial in range(trials):
        own = draw.random((images, cluster))
        shared = draw.random((images, cluster)) < together
        lost = (np.where(shared, draw.random((images, 1)), own) < drop).ravel()
        pairs = Paired(np.ones_like(lost), ~lost, np.repeat(np.arange(images), cluster))
        interval = difference_interval(pairs)
        covered += interval.low <= -drop <= interval.high
        passed += float(no_drop_p_value(*effective(pairs), margin=drop)) <= 0.05
    assert passed / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)
    assert covered / trials >= 0.93


def test_false_alarms_where_large_images_fare_otherwise_than_small_ones() -> None:
    draw = np.random.default_rng(0)
    large, cluster, small, rate, trials, alarms = 20, 6, 100, 0.05, 1000, 0
    numbers = np.concatenate([np.repeat(np.arange(large), cluster), large + np.arange(small)])
    for _trial in range(trials):
        gained = np.concatenate([np.repeat(draw.random(large) < rate, cluster), np.zeros(small, bool)])
        lost = np.concatenate(
            [np.zeros(large * cluster, bool), draw.random(small) < rate * large * cluster / small]
        )
        pairs = Paired(~gained, ~lost, numbers)
        score = float(drop_p_value(*effective(pairs), margin=0.0))
        alarms += max(score, exact_p_value(pairs) / 2 if pairs.lost > pairs.gained else 1) <= 0.05
    assert alarms / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)


def test_five_images_can_show_nothing() -> None:
    five = Paired(np.ones(100, bool), np.ones(100, bool), np.repeat(np.arange(5), 20))
    assert smallest_detectable(five) == 1.0
    assert smallest_detectable(paired(0, 0, 5)) == 1.0


@pytest.mark.parametrize("n", [16, 50, 100, 300])
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize(("alpha", "highest"), [(0.05, 0.05), (0.01, 0.0105)])
def test_false_alarms_are_at_most_alpha(n: int, margin: float, alpha: float, highest: float) -> None:
    rates = [
        failure_rate(n, margin=margin, drop=margin, gained=gained, alpha=alpha)
        for gained in (0.0, 0.005, 0.02, 0.05, 0.1, 0.3)
    ]
    assert max(rates) <= highest


def test_false_alarms_are_at_most_alpha_where_questions_share_images() -> None:
    draw = np.random.default_rng(0)
    images, cluster, trials, alarms = 60, 5, 1500, 0
    for _trial in range(trials):
        fate = np.repeat(draw.random(images), cluster)
        pairs = Paired(fate > 0.1, fate < 0.9, np.repeat(np.arange(images), cluster))
        effect = pairs.design_effect
        score = drop_p_value(pairs.lost / effect, pairs.gained / effect, pairs.n / effect, margin=0.0)
        alarms += max(float(score), exact_p_value(pairs) / 2 if pairs.lost > pairs.gained else 1) <= 0.05
    assert alarms / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)
    assert alarms > 0


def test_a_large_drop_is_found_and_the_rate_rises_with_it() -> None:
    rates = [failure_rate(300, margin=0.02, drop=drop, gained=0.02) for drop in (0.02, 0.05, 0.1, 0.2)]
    assert rates == sorted(rates)
    assert rates[-1] > 0.99


def test_nothing_lost_excludes_a_drop_only_with_enough_questions() -> None:
    p_values = no_drop_p_value(0, 0, np.array([16, 100, 300]), margin=0.02)
    assert p_values[0] > 0.05
    assert p_values[1] > 0.05
    assert p_values[2] <= 0.05


def test_the_smallest_detectable_difference_is_found_in_four_of_five_samples() -> None:
    n = 400
    pairs = paired(40, 40, n)
    smallest = smallest_detectable(pairs)
    draw = np.random.default_rng(1)
    share = 82 / 402
    rates = [(share + smallest) / 2, (share - smallest) / 2, 1 - share]
    counts = draw.multinomial(n, rates, size=2000)
    tests = {
        (lost, gained): exact_p_value(paired(lost, gained, n))
        for lost, gained in {(int(a), int(b)) for a, b, _ in counts}
    }
    found = np.mean([tests[int(lost), int(gained)] <= 0.05 for lost, gained, _ in counts])
    assert 0.74 <= found <= 0.84


@pytest.mark.parametrize(
    ("baseline", "current", "images"), [([], [], []), ([True], [], [1]), ([True], [True], [])]
)
def test_unequal_or_empty_samples_are_refused(
    baseline: list[bool], current: list[bool], images: list[int]
) -> None:
    with pytest.raises(ValueError, match="answers about"):
        Paired.of(baseline, current, images)

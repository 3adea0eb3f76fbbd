"""Sequential stopping: planned before the first draw, wrong with probability at most alpha, hardly less powerful."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, gamma, norm

from medrobust_bench.certify.certificate import lower_confidence_bound
from medrobust_bench.certify.cohen import SmoothedQuestion
from medrobust_bench.certify.sequential import (
    FIRST_LOOK,
    POWER_LOSS,
    PlannedLook,
    decided,
    plan_looks,
)
from medrobust_bench.certify.simulation import simulate, synthetic_population
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.registry import official_threats
from medrobust_bench.specs.seeds import Purpose

from .test_cohen import answer_of, one_question

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGMA = 0.25
RADII = (0.25, 0.5)
OFFICIAL = [threat for threat in official_threats() if threat.kind == "certification"]


def plan_of(
    n: int, *, alpha: float = 0.001, looks: int = 16, radii: tuple[float, ...] = RADII
) -> tuple[PlannedLook, ...]:
    return plan_looks(n=n, looks=looks, alpha=alpha, radii=radii, sigma=SIGMA)


def exceeds(look: PlannedLook, probability: float) -> NDArray[np.bool_]:
    """For every count whether its bound exceeds a probability, by the binomial tail that defines the bound."""
    return binom.sf(np.arange(look.n + 1) - 1, look.n, probability) < look.alpha


def crossing_probability(plan: tuple[PlannedLook, ...], truth: float) -> float:
    """Exactly: the probability that any look's bound exceeds the truth, whatever the rule that stops.

    The distribution of the count among paths that have not crossed, convolved from look to look.
    """
    alive, drawn, crossed = np.ones(1), 0, 0.0
    for look in plan:
        step = look.n - drawn
        alive = np.convolve(alive, binom.pmf(np.arange(step + 1), step, truth))
        drawn = look.n
        wrong = exceeds(look, truth)
        crossed += alive[wrong].sum()
        alive[wrong] = 0
    return crossed


def certification_probability(plan: tuple[PlannedLook, ...], truth: float, *, giving_up: bool) -> float:
    """Exactly: the probability that the first radius of the grid is certified."""
    alive, drawn, certified = np.ones(1), 0, 0.0
    for look in plan:
        step = look.n - drawn
        alive = np.convolve(alive, binom.pmf(np.arange(step + 1), step, truth))
        drawn = look.n
        there = exceeds(look, float(norm.cdf(RADII[0] / SIGMA)))
        certified += alive[there].sum()
        alive[there] = 0
        if giving_up:
            alive[[decided(look, count, radius=0.0, radii=RADII) for count in range(look.n + 1)]] = 0
    return certified


@given(
    n=st.integers(1, 200_000),
    looks=st.integers(1, 40),
    alpha=st.floats(1e-6, 0.5),
    sigma=st.floats(0.01, 2),
    radius=st.floats(0, 3),
)
@settings(max_examples=150)
def test_a_plan_spends_at_most_alpha_and_ends_at_n(
    n: int, looks: int, alpha: float, sigma: float, radius: float
) -> None:
    plan = plan_looks(n=n, looks=looks, alpha=alpha, radii=(radius, radius + 0.1), sigma=sigma)
    assert sum(look.alpha for look in plan) <= alpha * (1 + 1e-12)
    moments = [look.n for look in plan]
    assert moments == sorted(set(moments))
    assert moments[-1] == n
    assert len(plan) <= looks
    assert plan[-1].alpha >= alpha / 2
    for look in plan:
        assert look.hopeless == tuple(sorted(look.hopeless)), "farther radii are given up earlier"


def test_looks_are_a_geometric_series() -> None:
    moments = [look.n for look in plan_of(100_000, looks=17)]
    assert (moments[0], moments[-1], len(moments)) == (FIRST_LOOK, 100_000, 17)
    ratios = np.array(moments[4:]) / np.array(moments[3:-1])
    assert ratios == pytest.approx((100_000 / FIRST_LOOK) ** (1 / 16), rel=0.02)


def test_one_look_is_the_published_procedure() -> None:
    (look,) = plan_of(1000, looks=1)
    assert (look.n, look.alpha) == (1000, 0.001)
    bound = one_question(0.3)
    smoothed = SmoothedQuestion(bound, sigma=SIGMA, seed=5)
    plain = smoothed.certify(n0=20, n=300, alpha=0.001)
    assert plain == smoothed.certify(n0=20, n=300, alpha=0.001, looks=1, radii=RADII)
    assert plain.draws == 320


def test_looks_that_could_certify_nothing_spend_nothing() -> None:
    for look in plan_of(10_000):
        could = lower_confidence_bound(look.n, look.n, look.alpha) > norm.cdf(RADII[0] / SIGMA)
        assert could == (look.alpha > 0)


@pytest.mark.parametrize("alpha", [0.2, 0.01, 0.001])
@pytest.mark.parametrize("n", [60, 1000])
def test_it_is_wrong_with_probability_at_most_alpha_exactly(n: int, alpha: float) -> None:
    """Not simulated. Truths at the grid's boundaries, and just below what a count at a look can certify."""
    plan = plan_of(n, alpha=alpha)
    ladder = [
        lower_confidence_bound(count, look.n, look.alpha) - 1e-9
        for look in plan[-3:]
        for count in (look.n, look.n - 1, round(0.9 * look.n))
    ]
    truths = [float(norm.cdf(radius / SIGMA)) for radius in RADII] + [p for p in ladder if p > 0.5]
    worst = max(crossing_probability(plan, truth) for truth in truths)
    assert worst <= alpha
    assert worst > alpha / 20, "the bound is not needlessly loose"


@pytest.mark.parametrize("specification", OFFICIAL, ids=lambda threat: threat.name)
def test_the_official_certifications_keep_their_guarantee_at_the_boundary(specification) -> None:  # type: ignore[no-untyped-def]
    """Simulated 20,000 times at every boundary of the grid; benchmarks/certify_guarantee.py has the long version."""
    radii, sigma = tuple(map(float, specification.radii)), float(specification.sigma)
    alpha = 0.05  # where 20,000 trials can tell
    plan = plan_looks(n=specification.n, looks=specification.looks, alpha=alpha, radii=radii, sigma=sigma)
    trials = 20_000
    for radius in radii:
        truth = np.full(trials, norm.cdf(radius / sigma))
        seen = simulate(truth, plan, radii=radii, sigma=sigma, generator=np.random.default_rng(1))
        wrong = int((seen.largest > radius * (1 + 1e-12)).sum())
        assert binom.sf(wrong - 1, trials, alpha) > 1e-4
        assert (seen.radius <= seen.largest).all()


@pytest.mark.parametrize("n", [200, 1000])
def test_giving_up_loses_little_power(n: int) -> None:
    plan = plan_of(n)
    needed = int(exceeds(plan[-1], float(norm.cdf(RADII[0] / SIGMA))).argmax())
    for excess in (0.0, 0.01, 0.03):
        truth = needed / n + excess
        assert binom.sf(needed - 1, n, truth) >= 0.5, (
            "the promise is about questions that the last look certifies"
        )
        patient = certification_probability(plan, truth, giving_up=False)
        hasty = certification_probability(plan, truth, giving_up=True)
        assert patient - POWER_LOSS <= hasty <= patient


def test_a_sure_question_is_certified_and_a_lost_one_given_up_early() -> None:
    threat = load_threat("certified-l2")
    sure, lost = one_question(3.0), one_question(-3.0)
    certificate = threat.certify(sure, 7)
    assert certificate.prediction == answer_of(sure)
    assert certificate.radius >= 0.75
    assert certificate.draws == 10_000, "three sigma needs nearly all draws"
    nearer = SmoothedQuestion(sure, sigma=SIGMA, seed=7).certify(
        n0=0, n=10_000, alpha=0.001, looks=16, radii=[0.25]
    )
    assert nearer.radius >= 0.25
    assert nearer.draws < 100
    certificate = threat.certify(lost, 7)
    assert certificate.prediction is None
    assert certificate.draws == FIRST_LOOK


def test_a_farther_radius_that_cannot_be_reached_costs_nothing() -> None:
    bound = one_question(3.0)
    smoothed = SmoothedQuestion(bound, sigma=SIGMA, seed=7)
    near = smoothed.certify(n0=0, n=1000, alpha=0.001, looks=16, radii=[0.25])
    assert near == smoothed.certify(n0=0, n=1000, alpha=0.001, looks=16, radii=[0.25, 2.5])


@given(st.floats(-0.5, 1.0), st.integers(0, 2**40))
@settings(max_examples=30)
def test_counts_at_a_look_are_those_of_the_first_draws_alone(radius: float, seed: int) -> None:
    bound = one_question(radius)
    smoothed = SmoothedQuestion(bound, sigma=SIGMA, seed=seed, batch_size=7)
    certificate = smoothed.certify(n0=0, n=100, alpha=0.05, looks=6, radii=[0.1, 0.2])
    for look in certificate.looks:
        replayed = SmoothedQuestion(bound, sigma=SIGMA, seed=seed).counts(Purpose.ESTIMATION, look.n)
        assert look.counts == tuple(replayed)
    assert certificate.radius == certificate.recomputed_radius()
    assert certificate.candidate == answer_of(bound)
    assert certificate.prediction in (None, answer_of(bound))


@pytest.mark.parametrize("radius", [-0.3, 0.1, 0.3, 0.6])
def test_the_simulation_is_the_procedure(radius: float) -> None:
    """Shares of outcomes over 150 seeds against 20,000 simulated ones."""
    bound = one_question(radius, shape=(1, 1))
    plan = plan_looks(n=100, looks=6, alpha=0.05, radii=(0.1, 0.2), sigma=SIGMA)
    truth = np.full(20_000, norm.cdf(radius / SIGMA))
    expected = simulate(truth, plan, radii=(0.1, 0.2), sigma=SIGMA, generator=np.random.default_rng(0))
    seen = [
        SmoothedQuestion(bound, sigma=SIGMA, seed=seed, batch_size=100).certify(
            n0=0, n=100, alpha=0.05, looks=6, radii=[0.1, 0.2]
        )
        for seed in range(150)
    ]
    share = np.mean([certificate.radius >= 0.1 for certificate in seen])
    assert share == pytest.approx((expected.radius >= 0.1).mean(), abs=0.15)
    draws = np.mean([certificate.draws for certificate in seen])
    assert draws == pytest.approx(expected.draws.mean(), abs=4 * expected.draws.std() / np.sqrt(150) + 1)


def test_sequential_stopping_certifies_as_much_for_a_fraction_of_the_draws() -> None:
    """On the population of the documentation."""
    truth = synthetic_population(4000)
    assert (truth < 0.5).mean() == pytest.approx(0.25 * norm.cdf(1.5), abs=0.001)
    assert (truth > norm.cdf(2)).mean() == pytest.approx(0.75 * gamma.sf(2.5, 2.5), abs=0.001)
    for n, factor in ((1000, 3), (10_000, 10), (100_000, 30)):
        for radius in (0.25, 0.5):
            plan = plan_of(n, radii=(radius,))
            ours = simulate(truth, plan, radii=[radius], sigma=SIGMA, generator=np.random.default_rng(1))
            fixed = simulate(
                truth, plan_of(n, looks=1), radii=[radius], sigma=SIGMA, generator=np.random.default_rng(1)
            )
            assert ours.draws.mean() * factor <= n + 100
            assert (ours.radius >= radius).mean() >= (fixed.radius >= radius).mean() - 0.01

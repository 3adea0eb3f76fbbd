"""Certificates against a linear model, whose smoothed radius is known exactly, and the guarantee itself."""

from __future__ import annotations

import json
from math import erf, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from medrobust_bench.certify.certificate import Certificate, certified_radius, lower_confidence_bound
from medrobust_bench.certify.cohen import SmoothedQuestion
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.seeds import Purpose

from ..linear import LinearAdapter, LinearQuestions, make_questions

SIGMA = 0.25


def one_question(radius: float, *, n_classes: int = 2, shape: tuple[int, int] = (2, 3)) -> LinearQuestions:
    """A question whose smoothed radius is exactly `radius`: its distance from the decision boundary.

    Further options are far behind.
    """
    adapter = LinearAdapter(0, n_classes, shape)
    (question,) = make_questions(adapter, 1)
    bound = adapter.bind([question])
    right = question.answer
    other = (right + 1) % n_classes
    bound.biases[0] = -1e6
    bound.biases[0, right] = bound.biases[0, other] = 0
    weight = bound.weights[0, right] - bound.weights[0, other]
    image = torch.from_numpy(bound.batch.images[0]).permute(2, 0, 1).flatten().double() / 255
    bound.biases[0, right] = radius * weight.norm() - weight @ image
    return bound


def answer_of(bound: LinearQuestions) -> int:
    return bound.batch.questions[0].answer


@given(st.floats(-1.0, 1.0), st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_a_certificate_never_claims_more_than_the_exact_radius(radius: float, seed: int) -> None:
    # alpha is so small that a single failure in the life of this project would be a surprise.
    bound = one_question(radius)
    certificate = SmoothedQuestion(bound, sigma=SIGMA, seed=seed).certify(n0=20, n=200, alpha=1e-12)
    truth = answer_of(bound) if radius > 0 else 1 - answer_of(bound)
    assert certificate.prediction in (None, truth)
    assert certificate.radius <= abs(radius)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("radius", [0.1, 0.3, 0.5])
def test_the_certified_radius_approaches_the_exact_one(radius: float, n_classes: int) -> None:
    bound = one_question(radius, n_classes=n_classes)
    n = 20_000
    smoothed = SmoothedQuestion(bound, sigma=SIGMA, seed=3, batch_size=2000)
    certificate = smoothed.certify(n0=100, n=n, alpha=0.001)
    probability = norm.cdf(radius / SIGMA)
    assert certificate.prediction == answer_of(bound)
    # Four standard errors of the observed share, through the slope of the inverse normal distribution.
    slack = SIGMA * (3.1 + 4) * sqrt(probability * (1 - probability) / n) / norm.pdf(radius / SIGMA)
    assert radius - slack < certificate.radius < radius + slack / 7


def test_the_share_of_answers_is_that_of_exact_gaussian_noise() -> None:
    radius, n = 0.15, 10_000
    bound = one_question(radius)
    counts = SmoothedQuestion(bound, sigma=SIGMA, seed=8, batch_size=1000).counts(Purpose.ESTIMATION, n)
    expected = 0.5 * (1 + erf(radius / SIGMA / sqrt(2)))
    assert counts[answer_of(bound)] / n == pytest.approx(expected, abs=4 * sqrt(0.25 / n))


def test_the_noise_is_not_clipped() -> None:
    bound = one_question(0.1)
    seen: list[torch.Tensor] = []

    class Watching(LinearQuestions):
        def scores(self, pixels: torch.Tensor) -> torch.Tensor:
            seen.append(pixels)
            return super().scores(pixels)

    watching = Watching.of(bound)
    SmoothedQuestion(watching, sigma=SIGMA, seed=1, batch_size=64).counts(Purpose.ESTIMATION, 500)
    pixels = torch.cat(seen)
    assert pixels.min() < 0
    assert pixels.max() > 1
    noise = pixels - torch.from_numpy(bound.batch.images[0]).permute(2, 0, 1) / 255
    assert noise.mean().abs() < 0.02
    assert noise.std().item() == pytest.approx(SIGMA, rel=0.03)
    assert max(len(batch) for batch in seen) == 64, "memory does not grow with the number of draws"


def test_the_first_draws_can_be_replayed_whatever_the_batch_size() -> None:
    bound = one_question(0.05)
    alone = [
        SmoothedQuestion(bound, sigma=SIGMA, seed=4, batch_size=size).counts(Purpose.ESTIMATION, 70)
        for size in (1, 7, 70)
    ]
    assert (alone[0] == alone[1]).all()
    assert (alone[0] == alone[2]).all()
    shorter = SmoothedQuestion(bound, sigma=SIGMA, seed=4).counts(Purpose.ESTIMATION, 69)
    assert (alone[0] - shorter).sum() == 1
    assert (alone[0] - shorter).min() == 0


def test_selection_estimation_and_other_questions_use_other_noise() -> None:
    bound = one_question(0.0)
    counts = {
        (seed, purpose): SmoothedQuestion(bound, sigma=SIGMA, seed=seed).counts(purpose, 400)[0]
        for seed in (1, 2)
        for purpose in (Purpose.SELECTION, Purpose.ESTIMATION, Purpose.PREDICTION)
    }
    assert len(set(counts.values())) > 3
    assert all(140 < count < 260 for count in counts.values())


def test_scores_that_are_not_finite_count_as_unparsable_and_certify_nothing() -> None:
    bound = one_question(1.0)
    bound.biases[0, 0] = torch.nan
    certificate = SmoothedQuestion(bound, sigma=SIGMA, seed=1).certify(n0=10, n=100, alpha=0.001)
    assert certificate.prediction is None
    assert certificate.radius == 0
    assert certificate.estimation_counts == (0, 0, 100)
    assert SmoothedQuestion(bound, sigma=SIGMA, seed=1).predict(n=100, alpha=0.001) is None


def test_abstention_certifies_no_answer_at_any_radius() -> None:
    bound = one_question(0.0)
    certificate = SmoothedQuestion(bound, sigma=SIGMA, seed=1).certify(n0=10, n=100, alpha=0.001)
    assert certificate.prediction is None
    assert not any(certificate.certifies(option, 0.0) for option in range(2))


def test_a_certificate_counts_only_for_its_answer_and_up_to_its_radius() -> None:
    bound = one_question(0.5)
    certificate = SmoothedQuestion(bound, sigma=SIGMA, seed=1).certify(n0=10, n=500, alpha=0.001)
    assert certificate.certifies(answer_of(bound), certificate.radius)
    assert not certificate.certifies(answer_of(bound), certificate.radius + 1e-9)
    assert not certificate.certifies(1 - answer_of(bound), 0.0)


def test_a_certificate_holds_what_is_needed_to_recompute_it() -> None:
    bound = one_question(0.3)
    certificate = SmoothedQuestion(bound, sigma=SIGMA, seed=9).certify(n0=30, n=300, alpha=0.01)
    read = Certificate.model_validate_json(json.dumps(certificate.model_dump(mode="json")))
    assert read == certificate
    assert sum(read.selection_counts) == read.n0 == 30
    assert sum(read.estimation_counts) == read.n == 300
    assert (read.height, read.width, read.seed) == (2, 3, 9)
    successes = read.estimation_counts[int(np.argmax(read.selection_counts))]
    assert certified_radius(successes, read.n, alpha=read.alpha, sigma=read.sigma) == read.radius


def test_the_certification_follows_its_specification() -> None:
    bound = one_question(0.5)
    certificate = load_threat("certified-l2-exact:n=200,n0=20,sigma=0.5").certify(bound, 7)
    assert (certificate.n0, certificate.n, certificate.sigma, certificate.alpha) == (20, 200, 0.5, 0.001)
    assert bound.passes.count(bound.batch.questions[0].id) == 220


def test_predict_answers_where_it_is_sure_and_abstains_where_it_is_not() -> None:
    sure, unsure = one_question(0.4), one_question(0.0)
    assert SmoothedQuestion(sure, sigma=SIGMA, seed=1).predict(n=100, alpha=0.001) == answer_of(sure)
    assert SmoothedQuestion(unsure, sigma=SIGMA, seed=1).predict(n=100, alpha=0.001) is None


def test_predict_is_wrong_no_more_often_than_it_says() -> None:
    bound = one_question(0.02)
    alpha, trials = 0.2, 400
    wrong = sum(
        SmoothedQuestion(bound, sigma=SIGMA, seed=seed).predict(n=20, alpha=alpha) == 1 - answer_of(bound)
        for seed in range(trials)
    )
    assert binom.sf(wrong - 1, trials, alpha) > 1e-4


@pytest.mark.parametrize("alpha", [0.2, 0.01, 0.001])
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_the_lower_bound_fails_no_more_often_than_alpha(n: int, alpha: float) -> None:
    """Exact, not simulated: the probability of all counts whose bound exceeds the truth."""
    bounds = np.array([lower_confidence_bound(count, n, alpha) for count in range(n + 1)])
    assert (np.diff(bounds) > 0).all()
    for truth in [0.5, 0.51, 0.7, 0.9, 0.99, 0.999, alpha ** (1 / n)]:
        failure = binom.pmf(np.arange(n + 1), n, truth)[bounds > truth].sum()
        assert failure <= alpha * (1 + 1e-9)


@pytest.mark.parametrize("count", [1, 60, 990, 1000])
def test_the_lower_bound_solves_the_binomial_tail(count: int) -> None:
    bound = lower_confidence_bound(count, 1000, 0.001)
    assert binom.sf(count - 1, 1000, bound) == pytest.approx(0.001, rel=1e-6)


def test_the_bounds_at_the_ends() -> None:
    assert lower_confidence_bound(0, 1000, 0.001) == 0
    assert lower_confidence_bound(1000, 1000, 0.001) == pytest.approx(0.001 ** (1 / 1000))
    assert certified_radius(1000, 1000, alpha=0.001, sigma=SIGMA) == pytest.approx(
        SIGMA * norm.ppf(0.001 ** (1 / 1000))
    )
    assert certified_radius(500, 1000, alpha=0.001, sigma=SIGMA) == 0
    assert certified_radius(0, 1000, alpha=0.001, sigma=SIGMA) == 0


def test_whole_certificates_fail_no_more_often_than_alpha() -> None:
    """The whole procedure, simulated where it is most likely to fail: hardly any margin."""
    radius, alpha, trials = 0.05, 0.1, 500
    bound = one_question(radius, shape=(1, 1))
    claims = [
        SmoothedQuestion(bound, sigma=SIGMA, seed=seed, batch_size=60).certify(n0=10, n=60, alpha=alpha)
        for seed in range(trials)
    ]
    failures = sum(
        claim.prediction is not None and (claim.prediction != answer_of(bound) or claim.radius > radius)
        for claim in claims
    )
    assert binom.sf(failures - 1, trials, alpha) > 1e-4
    assert failures > 0, "the bound is not needlessly loose"


def test_the_bound_is_estimated_on_draws_that_did_not_select() -> None:
    smoothed = SmoothedQuestion(one_question(0.1), sigma=SIGMA, seed=2)
    certificate = smoothed.certify(n0=300, n=300, alpha=0.01)
    assert certificate.selection_counts == tuple(smoothed.counts(Purpose.SELECTION, 300))
    assert certificate.estimation_counts == tuple(smoothed.counts(Purpose.ESTIMATION, 300))
    assert certificate.selection_counts != certificate.estimation_counts

"""Randomised models: noticed, and neither saved by a noisy gradient nor broken by one unlucky draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.models.expectation import ExpectedQuestions, RandomisedVLM, is_randomised, settled
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.runs.threats import load_threat
from tests.linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question

HONEST = LinearAdapter(0, 4, (10, 10), scale=0.05)


class Noisy(LinearQuestions):
    """Every pass adds other noise to the biases, so that single answers and gradients' signs of success jump."""

    def _logits(self, pixels: torch.Tensor) -> torch.Tensor:
        return super()._logits(pixels) + 0.3 * torch.randn(len(pixels), self.weights.shape[1])

    def select(self, rows: Sequence[int]) -> Noisy:
        return noisy(super().select(rows))


class NoisyAdapter(LinearAdapter):
    def bind(self, questions: Sequence[Question]) -> Noisy:
        return noisy(super().bind(questions))


def noisy(bound: LinearQuestions) -> Noisy:
    return Noisy(bound.questions, bound.images, bound.weights, bound.biases, bound.passes)


def questions() -> Sequence[Question]:
    return Dataset("toy", "test", tuple(make_questions(HONEST, 12)), synthetic=True).questions


def test_only_randomised_models_are_wrapped() -> None:
    assert settled(HONEST, questions()) is HONEST
    assert not is_randomised(HONEST.bind(questions()))
    wrapped = settled(NoisyAdapter(0, 4, (10, 10), scale=0.05), questions())
    assert isinstance(wrapped, RandomisedVLM)
    assert wrapped.record.draws == 20
    assert wrapped.differentiable


def test_the_expectation_is_near_the_mean_and_its_verdicts_steady() -> None:
    torch.manual_seed(0)
    plain, random = HONEST.bind(questions()), noisy(HONEST.bind(questions()))
    expected = ExpectedQuestions(random, draws=200)
    pixels = to_pixels(plain.images)
    assert (expected.option_logits(pixels) - plain.option_logits(pixels)).abs().max() < 0.15
    lead = plain.option_logits(pixels).topk(2).values
    clear = [row for row, gap in enumerate((lead[:, 0] - lead[:, 1]).tolist()) if gap > 0.5]
    assert clear
    for _ in range(3):
        answers = expected.answer(plain.images)
        assert all(answers[row].choice == plain.questions[row].answer for row in clear)


def test_an_attack_breaks_in_expectation_what_it_breaks_without_noise() -> None:
    torch.manual_seed(0)
    plain = HONEST.bind(questions())
    answers, pixels = [question.answer for question in plain.questions], to_pixels(plain.images)
    threat = load_threat("pgd-linf:steps=5,step_size=4/255")
    expected = ExpectedQuestions(noisy(plain), draws=20)
    certain = threat.search(plain, pixels, answers, range(12))
    averaged = threat.search(expected, pixels, answers, range(12))
    broken = [finding.answer is not None for finding in certain]
    assert any(broken)
    assert sum(a.answer is not None for a in averaged) >= sum(broken) - 1

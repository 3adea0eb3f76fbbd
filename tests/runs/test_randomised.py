"""Randomised models: noticed, and neither saved by a noisy gradient nor broken by one unlucky draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.models.averaged import (
    AveragedQuestions,
    AveragedVLM,
    Expectation,
    is_stochastic,
    wrap_if_stochastic,
)
from medrobust_bench.runs.threats import load_threat
from tests.linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question

HONEST = LinearAdapter(0, 4, (10, 10), scale=0.05)


class Noisy(LinearQuestions):
    """Every pass adds other noise to the biases, so that single answers and gradients' signs of success jump."""

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().logits(pixels) + 0.3 * torch.randn(len(pixels), self.weights.shape[1])


class NoisyAdapter(LinearAdapter):
    def bind(self, questions: Sequence[Question]) -> Noisy:
        return Noisy.of(super().bind(questions))


def questions() -> Sequence[Question]:
    return Dataset("toy", "test", tuple(make_questions(HONEST, 12)), synthetic=True).questions


def test_only_randomised_models_are_wrapped() -> None:
    assert wrap_if_stochastic(HONEST, questions()) is HONEST
    assert not is_stochastic(HONEST.bind(questions()))
    wrapped = wrap_if_stochastic(NoisyAdapter(0, 4, (10, 10), scale=0.05), questions())
    assert isinstance(wrapped, AveragedVLM)
    assert wrapped.record.draws == 20
    assert wrapped.differentiable


def test_the_expectation_is_near_the_mean_and_its_verdicts_steady() -> None:
    torch.manual_seed(0)
    plain, random = HONEST.bind(questions()), Noisy.of(HONEST.bind(questions()))
    expected = AveragedQuestions(random, Expectation(draws=200))
    pixels = plain.batch.pixels()
    assert (expected.scores(pixels) - plain.scores(pixels)).abs().max() < 0.15
    lead = plain.scores(pixels).topk(2).values
    clear = [row for row, gap in enumerate((lead[:, 0] - lead[:, 1]).tolist()) if gap > 0.5]
    assert clear
    for _ in range(3):
        answers = expected.answer(plain.batch.images)
        assert all(answers[row].choice == plain.batch.questions[row].answer for row in clear)


def test_an_attack_breaks_in_expectation_what_it_breaks_without_noise() -> None:
    torch.manual_seed(0)
    plain = HONEST.bind(questions())
    threat = load_threat("pgd-linf:steps=5,step_size=4/255")
    expected = AveragedQuestions(Noisy.of(plain), Expectation(draws=20))
    certain = threat.search(plain, range(12))
    averaged = threat.search(expected, range(12))
    broken = [result.answer is not None for result in certain]
    assert any(broken)
    assert sum(a.answer is not None for a in averaged) >= sum(broken) - 1

"""A smoothed linear model, whose smoothed answer and certified radius are known, attacked and ranked like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.stats import norm

from medrobust_bench.attacks.losses import CrossEntropy, Loss, loss_at, option_margins
from medrobust_bench.certify.check import check_path
from medrobust_bench.certify.fault import Declared
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import canonical
from medrobust_bench.models.adapter import Answer
from medrobust_bench.models.averaged import AveragedQuestions, AveragedVLM, GaussianSmoothing, smoothed
from medrobust_bench.models.cards import read_card
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Smoothing
from medrobust_bench.runs.evaluate import evaluate
from tests.linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

SMOOTHING = Smoothing(sigma=0.25, n=100, alpha=0.001)


@pytest.fixture
def base() -> LinearAdapter:
    return LinearAdapter(seed=3, n_classes=3, shape=(5, 4), scale=0.5)


@pytest.fixture
def questions(base: LinearAdapter) -> list[Question]:
    return make_questions(base, 6)


def loss(bound: AveragedQuestions, pixels: torch.Tensor) -> Loss:
    return loss_at(CrossEntropy(), bound, pixels, [""] * len(pixels))


def test_its_record_says_that_it_is_smoothed(base: LinearAdapter) -> None:
    record = smoothed(base, SMOOTHING, id="smooth").record
    assert record.smoothing == SMOOTHING
    assert record.id == "smooth"
    assert record.weights_sha256 == base.record.weights_sha256
    assert base.record.smoothing is None


def test_an_answer_is_the_most_frequent_one_or_an_abstention(base: LinearAdapter) -> None:
    """Two options: the share of the right answer is Φ(distance/σ); it abstains only where that is near a half."""
    two = LinearAdapter(seed=4, n_classes=2, shape=(5, 4), scale=0.2)
    questions = make_questions(two, 40)
    answers = smoothed(two, SMOOTHING).bind(questions).answer([canonical(q.image) for q in questions])
    plain = two.bind(questions)
    logits = plain.scores(smoothed(two, SMOOTHING).bind(questions).batch.pixels())
    margin = (logits[:, 0] - logits[:, 1]).abs()
    distance = margin / (plain.weights[:, 0] - plain.weights[:, 1]).norm(dim=1)
    share = norm.cdf(distance.numpy() / SMOOTHING.sigma)
    assert {answer.choice for answer in answers} >= {0, 1}
    for question, answer, agreeing in zip(questions, answers, share, strict=True):
        assert answer.choice in (None, question.answer)
        if agreeing > 0.85:
            assert answer.choice == question.answer
        if answer.choice is None:
            assert agreeing < 0.85


def test_an_image_is_always_answered_alike_whatever_its_company(
    base: LinearAdapter, questions: list[Question]
) -> None:
    bound = smoothed(base, SMOOTHING).bind(questions)
    together = bound.answer(bound.batch.images)
    assert together == bound.answer(bound.batch.images)
    assert together[3:5] == bound.select([3, 4]).answer(bound.batch.images[3:5])


def test_scores_are_a_function_of_the_pixels_alone(base: LinearAdapter, questions: list[Question]) -> None:
    bound = smoothed(base, SMOOTHING).bind(questions)
    pixels = bound.batch.pixels()
    scores = bound.scores(pixels)
    assert torch.equal(scores, bound.scores(pixels))
    assert torch.allclose(bound.select([2]).scores(pixels[[2]])[0], scores[2])
    assert scores.exp().sum(dim=1).numpy() == pytest.approx(1)


def test_scores_are_averages_over_the_noise(base: LinearAdapter, questions: list[Question]) -> None:
    many = AveragedVLM(base, GaussianSmoothing(SMOOTHING, draws=800)).bind(questions)
    pixels = many.batch.pixels()
    generator = torch.Generator().manual_seed(0)
    noisy = pixels + SMOOTHING.sigma * torch.randn((800, *pixels.shape), generator=generator)
    plain = base.bind(questions)
    expected = torch.stack([plain.scores(image).softmax(dim=1) for image in noisy]).mean(dim=0)
    assert many.scores(pixels).exp().numpy() == pytest.approx(expected.numpy(), abs=0.05)


def test_losses_have_the_gradient_of_finite_differences(
    base: LinearAdapter, questions: list[Question]
) -> None:
    bound = smoothed(base, SMOOTHING).bind(questions)
    pixels = bound.batch.pixels().double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(bound, pixels).value.sum(), pixels)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    step = 1e-3 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    ahead = loss(bound, pixels.detach() + step).value
    behind = loss(bound, pixels.detach() - step).value
    slope = ((ahead - behind) / 2e-3).detach().numpy()
    assert slope == pytest.approx(gradient.flatten(1).norm(dim=1).numpy(), rel=0.02, abs=1e-3)


def test_missing_options_stay_missing_and_harm_no_gradient() -> None:
    base = LinearAdapter(seed=3, n_classes=4, shape=(5, 4))
    four = make_questions(base, 1)[0]
    two = replace(four, id="two", options=four.options[:2], answer=0)
    bound = smoothed(base, SMOOTHING).bind([four, two])
    pixels = bound.batch.pixels().requires_grad_()
    scores = bound.scores(pixels)
    assert torch.isneginf(scores[1, 2:]).all()
    (gradient,) = torch.autograd.grad(loss(bound, pixels).value.sum(), pixels)
    assert gradient.isfinite().all()
    margins = option_margins(scores, bound.batch)
    assert torch.isneginf(margins[0, four.answer])
    assert torch.isneginf(margins[1, [0, 2, 3]]).all()
    assert margins[1, 1].isfinite()


class Generating(LinearQuestions):
    """Answers that are generated and, for very bright images, cannot be parsed."""

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        assert all(image.dtype == np.uint8 for image in images)
        given = super().answer(images)
        return [
            Answer(None, "?") if image.mean() > 200 else answer
            for answer, image in zip(given, images, strict=True)
        ]


def test_generated_answers_can_be_smoothed_and_unparsable_ones_count_as_a_class(
    base: LinearAdapter, questions: list[Question]
) -> None:
    plain = base.bind(questions)
    generating = Generating(plain.batch, plain.weights * 20, plain.biases)
    smoothing = Smoothing(sigma=0.02, n=50, alpha=0.05, base="generate")
    bound = AveragedQuestions(generating, GaussianSmoothing(smoothing, draws=2))
    bright = [np.full_like(image, 250) for image in bound.batch.images]
    assert [answer.choice for answer in bound.answer(bright)] == [None] * len(questions)
    assert any(answer.choice is not None for answer in bound.answer(bound.batch.images))


def dataset_of(questions: list[Question]) -> Dataset:
    return Dataset(name="linear", split="test", questions=tuple(questions), synthetic=True)


def test_it_is_attacked_and_ranked_like_any_other_model(
    base: LinearAdapter, questions: list[Question], tmp_path: Path
) -> None:
    model = smoothed(base, SMOOTHING, id="smoothed-toy")
    threat = "pgd-l2:eps=20,steps=5"
    run = evaluate(model=[base, model], threats=threat, data=dataset_of(questions), out=tmp_path / "run")
    results = {(result.model.id, result.threat.kind): result for result in run.results}
    assert results["smoothed-toy", "pgd"].model.smoothing == SMOOTHING
    robust = results["smoothed-toy", "pgd"].metrics.robust_accuracy
    assert robust is not None
    assert robust.value < results["smoothed-toy", "clean"].metrics.clean_accuracy.value
    assert "smoothed-toy" in run.table()


def test_certifying_it_again_is_refused_before_any_work(
    base: LinearAdapter, questions: list[Question], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="smoothed already"):
        evaluate(
            model=smoothed(base, SMOOTHING),
            threats="certified-l2-quick",
            data=dataset_of(questions),
            out=tmp_path / "run",
        )


CARD = """---
id: smoothed-toy
title: Smoothed toy
source: ./nowhere
answer_mode: letter
smoothing:
  sigma: 0.25
  n: 100
  alpha: 0.001
licence: MIT
training_data:
  description: none
  trained_on_omnimedvqa: false
evaluated: false
---
A toy.
"""


def test_a_card_names_a_smoothed_model(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    path.write_text(CARD)
    assert read_card(path).smoothing == SMOOTHING
    path.write_text(CARD.replace("alpha: 0.001", "alpa: 0.001"))
    with pytest.raises(InvalidInputError, match="did you mean alpha"):
        read_card(path)
    path.write_text(CARD.replace("sigma: 0.25", "sigma: -1"))
    with pytest.raises(InvalidInputError, match="sigma"):
        read_card(path)


def test_attacks_on_the_smoothed_model_are_held_against_its_certificates(tmp_path: Path) -> None:
    base = LinearAdapter(seed=3, scale=0.05)
    model = smoothed(base, SMOOTHING, id="smoothed-toy")
    certified, attacked, plain = (tmp_path / name for name in ("certified", "attacked", "plain"))
    evaluate(model=base, threats="certified-l2:n=100", data="phantoms", limit=12, out=certified)
    for attacked_model, out in ((model, attacked), (base, plain)):
        evaluate(model=attacked_model, threats="pgd-l2:eps=1,steps=3", data="phantoms", limit=12, out=out)
    assert list((attacked / "witnesses").glob("*.parquet"))
    assert check_path(certified, Declared(expect=12), against=attacked) == []
    with pytest.raises(InvalidInputError, match="attacks no smoothed model"):
        check_path(certified, Declared(), against=plain)
    journal = certified / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"radius":0.', '"radius":9.'))
    assert "witness" in {fault.check for fault in check_path(certified, Declared(), against=attacked)}

"""Bound questions are functions of pixels; verdicts come from the deployed path."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from medrobust_bench.attacks.losses import CrossEntropy, loss_at
from medrobust_bench.data.image import ImageBytes, to_png
from medrobust_bench.models import probes
from medrobust_bench.models.huggingface import prevailing_dtype, weights_sha256
from medrobust_bench.models.one_by_one import OneByOne
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.models.probes import synthetic_image, synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from tests.models.families import FAMILIES
from tests.models.qwen2_vl import load, loss

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question


@pytest.mark.parametrize("mode", AnswerMode)
def test_scores_do_not_depend_on_company(
    checkpoint: Path, questions: list[Question], mode: AnswerMode
) -> None:
    bound = load(checkpoint, mode).bind(questions)
    pixels = bound.batch.pixels()
    together = bound.scores(pixels)
    assert together.shape == (3, 4)
    assert together.dtype == torch.float32
    assert torch.isinf(together).tolist() == [[k >= len(q.options) for k in range(4)] for q in questions]
    for row, question in enumerate(questions):
        alone = bound.select([row]).scores(pixels[[row]])
        torch.testing.assert_close(alone, together[[row], : len(question.options)], rtol=1e-4, atol=1e-4)
    swapped = bound.select([2, 0, 2])
    assert [question.id for question in swapped.batch.questions] == [questions[row].id for row in (2, 0, 2)]
    torch.testing.assert_close(swapped.scores(pixels[[2, 0, 2]]), together[[2, 0, 2]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", [AnswerMode.LETTER, AnswerMode.OPTION_TEXT])
def test_deployed_answer_is_the_best_option(
    checkpoint: Path, questions: list[Question], mode: AnswerMode
) -> None:
    bound = load(checkpoint, mode).bind(questions)
    tampered = [synthetic_image(seed + 50, 64, 80) for seed in range(3)]
    for images in (bound.batch.images, tampered):
        best = bound.scores(to_pixels(images, torch.device("cpu"))).argmax(-1)
        assert [answer.choice for answer in bound.answer(images)] == best.tolist()


@pytest.mark.parametrize("mode", [AnswerMode.LETTER, AnswerMode.OPTION_TEXT])
def test_loss_is_the_cross_entropy_of_the_scores(
    checkpoint: Path, questions: list[Question], mode: AnswerMode
) -> None:
    bound = load(checkpoint, mode).bind(questions)
    pixels = bound.batch.pixels()
    scores = bound.scores(pixels)
    best = scores.argmax(-1).tolist()
    worst = scores.masked_fill(scores.isinf(), torch.inf).argmin(-1).tolist()
    nll, doubt, _ = loss(bound, pixels, worst)
    expected = [-float(scores[row].log_softmax(-1)[k]) for row, k in enumerate(worst)]
    assert nll.tolist() == pytest.approx(expected, abs=1e-4)
    assert doubt.all()
    lead = scores.topk(2).values.diff().abs().squeeze(-1)
    assert loss(bound, pixels, best).may_have_flipped.tolist() == (lead < 0.02).tolist()


def test_option_text_score_is_the_mean_log_likelihood_of_its_tokens(
    checkpoint: Path, questions: list[Question]
) -> None:
    model = load(checkpoint, AnswerMode.OPTION_TEXT)
    question = questions[1]
    bound = model.bind([question])
    scores = bound.scores(bound.batch.pixels())[0]
    for k, option in enumerate(question.options):
        prompt = model.render(question)
        inputs = model.process([prompt + option], bound.batch.images)
        written = len(model.tokenizer(option, add_special_tokens=False)["input_ids"])
        labels = inputs["input_ids"].clone()
        labels[:, :-written] = -100
        with torch.no_grad():
            mean_nll = model.model(**inputs, labels=labels).loss
        assert float(scores[k]) == pytest.approx(-float(mean_nll), abs=1e-4)


def test_gradient_predicts_a_small_step(checkpoint: Path, questions: list[Question]) -> None:
    bound = load(checkpoint, dtype="float64").bind(questions)
    pixels = bound.batch.pixels().requires_grad_()
    nll = loss(bound, pixels, [0, 1, 2]).value
    (gradient,) = torch.autograd.grad(nll.sum(), pixels)
    step = gradient.sign() * 0.1 / 255
    with torch.no_grad():
        ahead, behind = (loss(bound, pixels + s * step, [0, 1, 2]).value.sum() for s in (1, -1))
    assert float(ahead - behind) == pytest.approx(2 * float((gradient * step).sum()), rel=0.01)


def test_record_names_weights_and_settings(checkpoint: Path) -> None:
    record = load(checkpoint, AnswerMode.OPTION_TEXT, id="tiny").record
    assert (record.id, record.dtype, record.answer_mode) == ("tiny", "float32", "option-text")
    assert record.parameters == sum(p.numel() for p in load(checkpoint).model.parameters())
    assert record.weights_sha256 == load(checkpoint).record.weights_sha256
    assert load(checkpoint).record.id == checkpoint.name


def test_dtype_is_that_of_most_parameters() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(9, 9, dtype=torch.float16))
    assert prevailing_dtype(model) is torch.float16


def test_digest_depends_on_every_byte_name_dtype_and_shape() -> None:
    state = {"b": torch.arange(4.0), "a": torch.ones(2)}
    digest = weights_sha256(state)
    assert digest == weights_sha256(dict(reversed(state.items())))
    others = [
        {**state, "b": torch.tensor([0.0, 1, 2, 3.0000002])},
        {"c": state["b"], "a": state["a"]},
        {**state, "b": state["b"].reshape(2, 2)},
        {**state, "a": torch.ones(2, dtype=torch.bfloat16)},
    ]
    assert len({digest, *map(weights_sha256, others)}) == 5


def test_weights_take_no_gradient(checkpoint: Path) -> None:
    model = load(checkpoint).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_images_of_one_batch_have_one_shape(checkpoint: Path, questions: list[Question]) -> None:
    other = replace(questions[1], image=ImageBytes(to_png(synthetic_image(0, 32, 48))))
    with pytest.raises(ValueError, match="one shape"):
        load(checkpoint).bind([questions[0], other])


def test_missing_checkpoint_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        load(tmp_path)


def test_encoder_decoder_is_bad_input(checkpoint: Path, tmp_path: Path) -> None:
    folder = FAMILIES["Qwen2-VL"].save(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "is_encoder_decoder": True}))
    with pytest.raises(InvalidInputError, match="encoder-decoder"):
        load(folder)


@pytest.mark.parametrize(("gap", "together"), [(0.1, True), (0.29, True), (0.31, False)])
def test_a_deep_model_in_half_precision_may_round_as_it_does_among_copies_of_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gap: float, together: bool
) -> None:
    model = load(FAMILIES["Qwen2-VL"].save(tmp_path), dtype="bfloat16")
    monkeypatch.setattr(probes, "batch_gap", lambda adapter, questions=None: gap)
    monkeypatch.setattr(probes, "batch_rounding", lambda adapter, questions=None: 0.1)
    assert model.batchable == together


def test_copies_of_a_question_do_not_hide_that_it_is_disturbed(tmp_path: Path) -> None:
    model = load(FAMILIES["InstructBLIP"].save(tmp_path))
    assert 3 * probes.batch_rounding(model) < 1e-3 < probes.batch_gap(model)


def test_instructblip_gets_its_questions_one_at_a_time(tmp_path: Path) -> None:
    model = load(FAMILIES["InstructBLIP"].save(tmp_path))
    questions = synthetic_questions()
    bound = model.bind(questions)
    assert isinstance(bound, OneByOne)
    pixels = bound.batch.pixels()
    scores = bound.scores(pixels)
    for row, question in enumerate(questions):
        alone = model.bind([question]).scores(pixels[[row]])
        assert torch.equal(scores[[row], : len(question.options)], alone)
    assert [answer.choice for answer in bound.answer(bound.batch.images)] == scores.argmax(-1).tolist()
    chosen = bound.select([2, 0])
    nll, doubt, _ = loss_at(CrossEntropy(), chosen, pixels[[2, 0]], ["", ""])
    assert nll.shape == doubt.shape == (2,)


def test_chameleon_is_known_to_give_no_gradient(tmp_path: Path) -> None:
    model = load(FAMILIES["Chameleon"].save(tmp_path))
    assert not model.differentiable
    bound = model.bind(synthetic_questions())
    assert bound.scores(bound.batch.pixels()).isfinite().sum() == 9

"""What a model writes freely: confirmed alone, whatever was guessed together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.models.probes import synthetic_image
from medrobust_bench.models.prompt import AnswerMode
from tests.models.families import FAMILIES
from tests.models.qwen2_vl import load, loss, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question


def test_reasoning_reference_is_the_generated_completion(checkpoint: Path, questions: list[Question]) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    bound = model.bind(questions)
    pixels = bound.batch.pixels().requires_grad_()
    nll, doubt, _ = loss(bound, pixels, [0, 0, 0])
    for row, question in enumerate(questions):
        inputs = model.process([model.render(question)], [bound.batch.images[row]])
        written = model.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=6,
            suppress_tokens=model.forbidden_tokens,
            output_scores=True,
            return_dict_in_generate=True,
        )
        likelihood = sum(float(scores[0].log_softmax(-1).max()) for scores in written.scores)
        assert nll[row].item() == pytest.approx(-likelihood, abs=1e-3)
        leads = [float(scores[0].topk(2).values.diff().abs()) for scores in written.scores]
        assert bool(doubt[row]) == (min(leads) < 0.02)
    (gradient,) = torch.autograd.grad(nll.sum(), pixels)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_completion_on_the_clean_image_is_generated_once(
    checkpoint: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    bound = model.bind(questions)
    sizes = recorded(model, monkeypatch)
    clean = bound.answer(bound.batch.images)
    assert sizes[0] == len(questions)
    del sizes[:]
    chosen = bound.select([1, 1, 0])
    loss(chosen, chosen.batch.pixels(), [0, 0, 0])
    assert [answer.text for answer in bound.answer(bound.batch.images)] == [answer.text for answer in clean]
    assert sizes == []


def test_completions_are_guessed_together_and_confirmed_alone(
    checkpoint: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    rows = [0, 1, 2] * 8
    bound = model.bind(questions).select(rows)
    images = [synthetic_image(seed, 64, 80) for seed in range(len(rows))]
    alone = [model.decode(model.complete(bound.prompts[row], image)) for row, image in enumerate(images)]
    sizes = recorded(model, monkeypatch)
    assert [answer.text for answer in bound.answer(images)] == alone
    assert sizes[0] > 1
    assert sum(sizes[1:]) < len(rows) / 2, "most guesses are confirmed"

    wrong = model.complete(bound.prompts[0], bound.batch.images[0])
    complete = model.complete_batch
    monkeypatch.setattr(
        model,
        "complete_batch",
        lambda prompts, images: [wrong] * len(prompts) if len(prompts) > 1 else complete(prompts, images),
    )
    fresh = model.bind(questions).select(rows)
    assert [answer.text for answer in fresh.answer(images)] == alone, "a wrong guess is not believed"


def test_completions_are_guessed_in_parts_where_memory_runs_out(
    checkpoint: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    bound = model.bind(questions).select([0, 1, 2, 0, 1])
    images = [synthetic_image(seed, 64, 80) for seed in range(5)]
    alone = [model.decode(model.complete(bound.prompts[row], image)) for row, image in enumerate(images)]
    sizes: list[int] = []
    complete = model.complete_batch

    def short_of_memory(prompts: list[str], images: list[Any]) -> list[list[int]]:
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError
        return complete(prompts, images)

    monkeypatch.setattr(model, "complete_batch", short_of_memory)
    assert [answer.text for answer in bound.answer(images)] == alone
    assert sizes[:4] == [5, 2, 2, 1]


def test_answers_generated_together_are_those_given_one_by_one(
    checkpoint: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    bound = model.bind(questions).select([0, 1, 2, 0, 1])
    images = [synthetic_image(seed, 64, 80) for seed in range(5)]
    alone = bound.answer(images)
    monkeypatch.setattr(model, "complete", lambda prompt, image: pytest.fail("one by one"))
    assert bound.answer(images, exact=False) == alone
    assert len({answer.text for answer in alone}) > 1


def test_shortcut_answers_as_generation_does(
    checkpoint: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    bound = model.bind(questions[:1])
    clean = bound.answer(bound.batch.images)[0]
    calls: list[str] = []
    complete = model.complete
    monkeypatch.setattr(
        model, "complete", lambda prompt, image: calls.append(prompt) or complete(prompt, image)
    )
    noise = np.random.default_rng(0).integers(-2, 3, (12, *bound.batch.images[0].shape))
    tampered = [np.clip(bound.batch.images[0] + levels, 0, 255).astype(np.uint8) for levels in noise]
    tampered += [synthetic_image(seed, 64, 80) for seed in range(20, 32)]
    short = [bound.answer([image])[0] for image in tampered]
    assert 0 < len(calls) < len(tampered), "some completions change, some do not"
    plain = [model.decode(complete(bound.prompts[0], image)) for image in tampered]
    assert [answer.text for answer in short] == plain
    assert clean.text in plain


def test_doubt_rises_when_the_completion_changes(checkpoint: Path, questions: list[Question]) -> None:
    bound = load(checkpoint, AnswerMode.REASONING).bind(questions[:1])
    for seed in range(30, 60):
        image = synthetic_image(seed, 64, 80)
        changed = bound.answer([image])[0].text != bound.answer(bound.batch.images)[0].text
        if changed:
            assert loss(bound, to_pixels([image], torch.device("cpu")), [0]).may_have_flipped.item()
            return
    pytest.fail("no image changed the completion")


def test_sampling_and_penalties_of_the_checkpoint_are_ignored(
    checkpoint: Path, questions: list[Question], tmp_path: Path
) -> None:
    expected = load(checkpoint, AnswerMode.REASONING).bind(questions).answer
    plain = load(checkpoint, AnswerMode.REASONING).bind(questions)
    texts = [answer.text for answer in expected(plain.batch.images)]
    sampling = FAMILIES["Qwen2-VL"].save(tmp_path)
    GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=9.0, eos_token_id=2, pad_token_id=0
    ).save_pretrained(sampling)
    tuned = load(sampling, AnswerMode.REASONING).bind(questions)
    assert [answer.text for answer in tuned.answer(tuned.batch.images)] == texts


def test_special_tokens_stay_in_the_completion(checkpoint: Path) -> None:
    model = load(checkpoint, AnswerMode.REASONING)
    words = model.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "A", "</s>"])
    assert model.decode(words) == "<|vision_start|>A"


def test_template_that_opens_the_rationale(checkpoint: Path, questions: list[Question]) -> None:
    model = load(
        checkpoint,
        AnswerMode.REASONING,
        prompt="<|vision_start|><|image_pad|><|vision_end|>{prompt}<think>\n",
    )
    bound = model.bind(questions[:1])
    assert questions[0].text in bound.prompts[0]
    assert model.tokenizer.decode(bound.scorer.leads[0]) + "A" == "</think><answer>A"
    assert bound.answer(bound.batch.images)[0].text.startswith("<think>")

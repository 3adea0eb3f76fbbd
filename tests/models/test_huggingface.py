"""Bound questions are functions of pixels; verdicts come from the deployed path."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from medrobust_bench.attacks.losses import CrossEntropy, Loss, loss_at
from medrobust_bench.data.image import ImageBytes, to_png
from medrobust_bench.models import selftest
from medrobust_bench.models.huggingface import HuggingFaceVLM, prevailing_dtype, weights_sha256
from medrobust_bench.models.one_by_one import OneByOne
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.models.probes import synthetic_image, synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.selftest import Verdict
from medrobust_bench.problems import InvalidInputError
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["Qwen2-VL"].save(tmp_path_factory.mktemp("qwen2-vl"))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Two, three and four options; images that Qwen2-VL does not resize, so that both paths agree."""
    return synthetic_questions(64, 80)


def load(checkpoint: Path, mode: AnswerMode = AnswerMode.LETTER, **options: Any) -> HuggingFaceVLM:
    return HuggingFaceVLM.from_pretrained(
        checkpoint, mode=mode, device="cpu", **{"max_new_tokens": 6, **options}
    )


def loss(bound: BoundQuestions, pixels: torch.Tensor, answers: list[int]) -> Loss:
    """Cross-entropy, were these the right answers."""
    questions = [replace(q, answer=answer) for q, answer in zip(bound.batch.questions, answers, strict=True)]
    asked = replace(bound, batch=replace(bound.batch, questions=tuple(questions)))
    return loss_at(CrossEntropy(), asked, pixels, [""] * len(pixels))


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
        best = bound.scores(to_pixels(images, CPU)).argmax(-1)
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


def recorded(model: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of prompts of every generation from now on."""
    sizes: list[int] = []
    complete = model.complete_batch
    monkeypatch.setattr(
        model,
        "complete_batch",
        lambda prompts, images: sizes.append(len(prompts)) or complete(prompts, images),
    )
    return sizes


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
            assert loss(bound, to_pixels([image], CPU), [0]).may_have_flipped.item()
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


@pytest.mark.parametrize("mode", AnswerMode)
def test_upcast_computes_in_float32_and_answers_as_deployed(
    checkpoint: Path, questions: list[Question], mode: AnswerMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, mode, dtype="bfloat16")
    upcast = model.upcast()
    assert upcast is not None
    assert upcast.model is model.upcast().model
    assert (model.dtype, upcast.dtype) == (torch.bfloat16, torch.float32)
    assert not any(parameter.requires_grad for parameter in upcast.model.parameters())
    in_half = model.bind(questions)
    in_full = in_half.upcast()
    pixels, answers = in_half.batch.pixels(), [0] * len(questions)

    rounded = load(checkpoint, mode)
    for parameter in rounded.model.parameters():  # the same weights, float32 from the first operation on
        parameter.copy_(parameter.bfloat16())
    torch.testing.assert_close(in_full.scores(pixels), rounded.bind(questions).scores(pixels))

    expected = in_half.answer(in_half.batch.images)
    monkeypatch.setattr(upcast.model, "forward", None)  # whoever judges with the copy fails
    assert in_full.answer(in_full.batch.images) == expected
    noisy = [np.random.default_rng(0).permutation(image) for image in in_full.batch.images]
    assert in_full.answer(noisy) == in_half.answer(noisy)
    monkeypatch.undo()
    assert loss(in_full, pixels, answers).value.dtype == torch.float32


def test_doubt_of_an_upcast_is_as_wide_as_the_deployed_precision(
    checkpoint: Path, questions: list[Question]
) -> None:
    model = load(checkpoint, dtype="bfloat16")
    bound = model.bind(questions).upcast()
    assert bound is not None
    pixels = bound.batch.pixels()
    scores = bound.scores(pixels)
    for row, best in enumerate(scores.argmax(1).tolist()):
        lead = float(scores[row, best] - scores[row].topk(2).values[1])
        doubt = loss(bound.select([row]), pixels[[row]], [best]).may_have_flipped
        assert bool(doubt) == (lead < 0.3)


def test_the_clean_completion_is_not_generated_again_for_the_upcast(
    checkpoint: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, AnswerMode.REASONING, dtype="bfloat16")
    bound = model.bind(questions)
    bound.answer(bound.batch.images)
    sizes = recorded(model, monkeypatch)
    precise = bound.upcast()
    assert loss(precise, precise.batch.pixels(), [0, 0, 0]).value.isfinite().all()
    assert sizes == []


def test_a_model_is_freed_with_its_last_user(checkpoint: Path, questions: list[Question]) -> None:
    model = load(checkpoint, AnswerMode.REASONING, dtype="bfloat16")
    bound = model.bind(questions)
    precise = bound.upcast()
    loss(precise, precise.batch.pixels(), [0, 0, 0])
    alive = [weakref.ref(model), weakref.ref(precise.adapter)]
    gc.disable()  # by counting references alone, not when the collector happens to find a cycle
    try:
        del model, bound, precise
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


def test_full_precision_needs_no_upcast(checkpoint: Path) -> None:
    assert load(checkpoint).upcast() is None


def test_half_precision_is_recorded_and_not_judged_by_finite_differences(checkpoint: Path) -> None:
    model = load(checkpoint, dtype="bfloat16")
    assert model.record.dtype == "bfloat16"
    report = selftest.run(model)
    assert report.passed
    assert report.check("slope").verdict is Verdict.UNDECIDED


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


def test_pil_only_image_processor_is_measured_without_gradient(tmp_path: Path) -> None:
    model = load(FAMILIES["LLaVA"].save(tmp_path))
    torchvision_scores = scores_of(model)
    assert model.differentiable
    model = load(tmp_path)
    size = {"height": 64, "width": 64}
    model.processor.image_processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=size)
    assert not model.differentiable
    assert selftest.run(model).check("gradient").verdict is Verdict.HANDLED
    torch.testing.assert_close(scores_of(model), torchvision_scores, rtol=0, atol=0.02)


def scores_of(model: HuggingFaceVLM) -> torch.Tensor:
    bound = model.bind(synthetic_questions()[1:2])
    return bound.scores(bound.batch.pixels())


def test_self_test_fails_a_wrong_image_path(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(checkpoint)
    kind = type(model.processor.image_processor)
    preprocess = kind.preprocess

    def brighter_on_tensors(self: Any, images: Any, **kwargs: Any) -> Any:
        returned = preprocess(self, images, **kwargs)
        first = images[0][0] if isinstance(images[0], list) else images[0]
        if isinstance(first, torch.Tensor):
            returned["pixel_values"] = returned["pixel_values"] + 0.5
        return returned

    monkeypatch.setattr(kind, "preprocess", brighter_on_tensors)
    report = selftest.run(model)
    assert not report.passed
    assert report.check("replay").verdict is Verdict.FAILED


def test_self_test_names_its_checks(checkpoint: Path) -> None:
    report = selftest.run(load(checkpoint, AnswerMode.OPTION_TEXT))
    assert report.passed
    assert {check.name for check in report.checks} >= {"replay", "slope", "batch", "teacher forcing"}
    with pytest.raises(KeyError):
        report.check("beauty")


def test_synthetic_questions_differ_in_length() -> None:
    lengths = {len(question.text) for question in synthetic_questions()}
    assert len(lengths) == 3
    assert np.array_equal(synthetic_image(1), synthetic_image(1))

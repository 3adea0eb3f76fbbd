"""Where a completion decides for an option: it is rewritten for the others, and where they part is the place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from medrobust_bench.attacks.losses import Divergence, Focus, Margin, first_difference
from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.adapter import afresh
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.records import Outcome
from medrobust_bench.runs.chunk import Chunk
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REASONING = STRATEGIES[AnswerMode.REASONING]
OPTIONS = ("CT", "MRI", "No", "severe nodule")


@pytest.mark.parametrize(
    ("written", "answer", "other", "expected"),
    [
        (
            "<think>CT of the chest. CT</think><answer>A</answer>",
            0,
            1,
            "<think>MRI of the chest. MRI</think><answer>B</answer>",
        ),
        (
            "<think>Normal. No</think><answer>C</answer>",
            2,
            0,
            "<think>Normal. CT</think><answer>A</answer>",
        ),
        (
            "<think>Severe nodule.</think><answer> D </answer>",
            3,
            2,
            "<think>No.</think><answer> C </answer>",
        ),
        ("<think>A shadow.</think><answer>A</answer>", 0, 3, "<think>A shadow.</think><answer>D</answer>"),
    ],
)
def test_a_completion_is_rewritten_for_another_option(
    written: str, answer: int, other: int, expected: str
) -> None:
    assert REASONING.rewrite(written, OPTIONS, answer, other, words=True) == expected


def test_without_words_only_the_letter_changes() -> None:
    written = "<think>CT. CT</think><answer>A</answer>"
    assert REASONING.rewrite(written, OPTIONS, 0, 1, words=False) == "<think>CT. CT</think><answer>B</answer>"


def test_where_sequences_part() -> None:
    assert first_difference([1, 2, 3], [1, 5, 3]) == Divergence(1, 2, 5)
    assert first_difference([1, 2], [1, 2, 3]) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceVLM:
    folder = FAMILIES["Qwen2-VL"].save(tmp_path_factory.mktemp("qwen2-vl"))
    return HuggingFaceVLM.from_pretrained(folder, mode=AnswerMode.REASONING, device="cpu", max_new_tokens=6)


def test_margins_are_the_likelihood_ratios_at_the_letter(model: HuggingFaceVLM) -> None:
    questions = [replace(question, answer=row) for row, question in enumerate(synthetic_questions(64, 80))]
    bound = model.bind(questions)
    generation = bound.generation
    assert generation is not None
    pixels = bound.batch.pixels().requires_grad_(True)
    written = [f"<think>Something.</think><answer>{question.letter}</answer>" for question in questions]
    value, _ = Margin(Focus.RESAMPLED).of_completions(generation, bound.batch, pixels, written)
    for row, question in enumerate(questions):
        own, alone = generation.tokens(row, written[row]), bound.select([row])
        _, _, logits = alone.completion_logits(alone.image_features(pixels[[row]]), [own])
        leads = []
        for letter in LETTERS[: len(question.options)].replace(question.letter, ""):
            other = generation.tokens(row, written[row].replace(f">{question.letter}<", f">{letter}<"))
            (place,) = (index for index, (a, b) in enumerate(zip(own, other, strict=True)) if a != b)
            leads.append(logits[0, place, other[place]] - logits[0, place, own[place]])
        torch.testing.assert_close(value[row], torch.stack(leads).max(), rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(value.sum(), pixels)
    assert all(image.abs().sum() > 0 for image in gradient)


@pytest.fixture
def half(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceVLM:
    folder = FAMILIES["Qwen2-VL"].save(tmp_path_factory.mktemp("half"))
    return HuggingFaceVLM.from_pretrained(
        folder, mode=AnswerMode.GENERATE, device="cpu", dtype="bfloat16", max_new_tokens=4
    )


def test_nothing_is_generated_alone_twice(half: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    generate = half.complete_batch

    def counted(prompts: list[str], images: list[NDArray[np.uint8]]) -> list[list[int]]:
        sizes.append(len(prompts))
        return generate(prompts, images)

    monkeypatch.setattr(half, "complete_batch", counted)
    bound = half.bind(synthetic_questions(64, 80))
    clean, other = list(bound.batch.images), [255 - image for image in bound.batch.images]
    first = bound.answer(clean)
    assert sizes == [1, 1, 1]
    assert bound.generation is not None
    bound.generation.clean()
    assert bound.answer(clean) == bound.answer(clean, exact=False) == first
    assert bound.select([2]).answer(clean[2:]) == first[2:]
    assert sizes == [1, 1, 1], "what was written alone is remembered"
    bound.answer(other, exact=False)
    assert sizes == [1, 1, 1, 3], "answers that only steer a search are written together"
    alone = bound.select([0]).answer(other[:1])
    assert sizes == [1, 1, 1, 3, 1], "a verdict is not taken from company"
    assert bound.answer(other, exact=False)[0] == alone[0]
    assert sizes[-1] == 2
    afresh(bound).answer(clean)
    assert sizes[-3:] == [1, 1, 1], "a bound batch made afresh remembers nothing"


def test_what_was_written_before_is_taken_as_written_if_it_spells_its_text(
    half: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = synthetic_questions(64, 80)
    bound = half.bind(questions)
    said = bound.answer(bound.batch.images)
    tokens = bound.written()
    assert all(tokens)
    again = half.bind(questions)
    assert again.written() == [None, None, None]
    told = {row: (tokens[row], answer.text) for row, answer in enumerate(said[:2])}
    again.recall({**told, 2: (tokens[2], said[2].text + "other")})
    assert again.written() == [*tokens[:2], None]
    sizes: list[int] = []
    generate = half.complete_batch

    def counted(prompts: list[str], images: list[NDArray[np.uint8]]) -> list[list[int]]:
        sizes.append(len(prompts))
        return generate(prompts, images)

    monkeypatch.setattr(half, "complete_batch", counted)
    assert again.answer(bound.batch.images) == said
    assert sizes == [1], "only what was not believed is written again"
    assert again.written() == tokens


def test_a_run_that_goes_on_has_no_clean_completion_written_again(
    half: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = synthetic_questions(64, 80)
    lines = [outcome.model_dump_json() for outcome in Chunk(half, "half", questions, seed=0).clean()]
    clean = {one.question: one for one in map(Outcome.model_validate_json, lines)}
    chunk = Chunk(half, "half", questions, seed=0)
    chunk.recall(clean)
    monkeypatch.setattr(half, "complete_batch", None)
    generation = chunk._bound.generation
    assert generation is not None
    assert generation.clean() == [list(clean[question.id].tokens or ()) for question in questions]


def test_what_was_written_together_is_confirmed_in_full_precision(
    model: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = model.bind(synthetic_questions(64, 80))
    images = [255 - image for image in bound.batch.images]
    together = bound.answer(images, exact=False)
    sizes: list[int] = []
    generate = model.complete_batch

    def counted(prompts: list[str], images: list[NDArray[np.uint8]]) -> list[list[int]]:
        sizes.append(len(prompts))
        return generate(prompts, images)

    monkeypatch.setattr(model, "complete_batch", counted)
    assert bound.answer(images) == together
    unconfirmed = len(sizes)  # two tokens are nearly equally likely
    assert sizes == [1] * unconfirmed
    assert afresh(bound).answer(images) == together
    assert sizes == [1] * unconfirmed + [3] + [1] * unconfirmed

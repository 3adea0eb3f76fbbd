"""Where a completion decides for an option: it is rewritten for the others, and where they part is the place."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medrobust_bench.attacks.losses import Divergence, Focus, Margin, first_difference
from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from tests.models.families import FAMILIES

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

"""Where a completion decides for an option: it is rewritten for the others, and where they part is the place."""

from __future__ import annotations

import pytest
import torch

from medrobust_bench.models.adapter import Focus
from medrobust_bench.models.completion import Parting, part, say_instead
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from tests.models.families import FAMILIES

OPTIONS = ("CT", "MRI", "No", "severe nodule")


@pytest.mark.parametrize(
    ("said", "answer", "other", "expected"),
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
    said: str, answer: int, other: int, expected: str
) -> None:
    assert say_instead(said, OPTIONS, answer, other, words=True) == expected


def test_without_words_only_the_letter_changes() -> None:
    said = "<think>CT. CT</think><answer>A</answer>"
    assert say_instead(said, OPTIONS, 0, 1, words=False) == "<think>CT. CT</think><answer>B</answer>"


def test_where_sequences_part() -> None:
    assert part([1, 2, 3], [1, 5, 3]) == Parting(1, 2, 5)
    assert part([1, 2], [1, 2, 3]) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceVLM:
    folder = FAMILIES["Qwen2-VL"].save(tmp_path_factory.mktemp("qwen2-vl"))
    return HuggingFaceVLM(folder, mode=AnswerMode.REASONING, device="cpu", max_new_tokens=6)


def test_rival_leads_are_the_likelihood_ratios_at_the_letter(model: HuggingFaceVLM) -> None:
    questions = synthetic_questions(64, 80)
    bound = model.bind(questions)
    pixels = to_pixels(bound.images, torch.device("cpu")).requires_grad_(True)
    said = [f"<think>Something.</think><answer>{'ABC'[row]}</answer>" for row in range(3)]
    rivals = bound.rival_leads(pixels, [0, 1, 2][: len(questions)], focus=Focus.RESAMPLED, said=said)
    for row, question in enumerate(questions):
        own = bound._spoken(row, said[row])
        alone = bound.select([row])
        for option in range(len(question.options)):
            if option == row:
                assert rivals.leads[row, option] == -torch.inf
                continue
            other = bound._spoken(row, said[row].replace(f">{'ABC'[row]}<", f">{'ABCD'[option]}<"))
            (place,) = (index for index, (a, b) in enumerate(zip(own, other, strict=True)) if a != b)
            _, _, logits = alone.completion_logits(alone.image_features(pixels[[row]]), [own])
            lead = logits[0, place, other[place]] - logits[0, place, own[place]]
            torch.testing.assert_close(rivals.leads[row, option], lead, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(rivals.leads[rivals.leads.isfinite()].sum(), pixels)
    assert all(image.abs().sum() > 0 for image in gradient)

"""The cards of known models, each on a tiny model of its architecture under its real chat template.

The weights are random and the completions scripted; everything between card and outcome is the real thing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.models.answer_marks import opened_thought
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model
from medrobust_bench.records import AnswerKind, Tier
from tests.models.families import FAMILIES
from tests.models.scripted import writing
from tests.models.test_chat_templates import CARDS, FORMATS, OPTIONS, TEMPLATES

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.cards import Card

ARCHITECTURES = {
    "med-r1": "Qwen2-VL",
    "medvlm-r1": "Qwen2-VL",
    "medvlthinker-7b": "Qwen2.5-VL",
    "lingshu-7b": "Qwen2.5-VL",
    "qwen3-vl-8b-thinking": "Qwen3-VL",
    "glm-4.1v-9b-thinking": "GLM-4V",
    "medgemma-4b": "Gemma 3",
    "medgemma-1.5-4b": "Gemma 3",
    "internvl3-8b": "InternVL",
    "internvl3.5-8b-thinking": "InternVL",
    "huatuogpt-vision-7b": "LLaVA",
}

QUESTION = replace(synthetic_questions()[0], text="What is this?", options=OPTIONS, answer=1)
GENERATING = [name for name in FORMATS if CARDS[name].answer_mode is AnswerMode.REASONING]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("architectures")
    names = sorted(set(ARCHITECTURES.values()))
    return {name: FAMILIES[name].save(root / name.replace(" ", "-")) for name in names}


def opened(name: str, checkpoints: dict[str, Path], **changes: object) -> HuggingFaceVLM:
    """The model of a card, loaded from a tiny checkpoint with the family's real chat template."""
    folder = checkpoints[ARCHITECTURES[name]]
    template = (TEMPLATES / f"{FORMATS[name].template}.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    card: Card = CARDS[name].model_copy(update={"source": str(folder), "path": None, **changes})
    adapter = load_model(card, device="cpu")
    assert isinstance(adapter, HuggingFaceVLM)
    return adapter


def test_every_family_has_its_architecture() -> None:
    assert ARCHITECTURES.keys() == FORMATS.keys()
    assert len(FORMATS) >= 10


@pytest.mark.parametrize("name", FORMATS)
def test_the_model_is_asked_as_its_card_says(name: str, checkpoints: dict[str, Path]) -> None:
    model, card = opened(name, checkpoints), CARDS[name]
    words = model.strategy.prompt(QUESTION)
    bos = "<bos>", model.tokenizer.bos_token  # the tiny tokenizer's
    expected = FORMATS[name].prompt.replace("{words}", words).replace("{system}", card.system or "")
    assert model.render(QUESTION) == expected.replace(*bos)
    if card.instruction is not None:
        assert words.endswith(f"\n{card.instruction}")
    assert model.max_new_tokens == (card.max_new_tokens or 128)
    assert model.stop == card.stop


@pytest.mark.parametrize("name", FORMATS)
def test_what_it_writes_is_read_stopped_and_named(name: str, checkpoints: dict[str, Path]) -> None:
    mode = CARDS[name].answer_mode
    model = opened(name, checkpoints, answer_mode=mode if name in GENERATING else AnswerMode.GENERATE)
    for completion, tier in FORMATS[name].completions.items():
        bound = model.bind([QUESTION])  # anew: what was written about a clean image is remembered
        more = " Any further word is one too many." if model.stop else ""
        with writing(model, completion + more) as passes:
            (answer,) = bound.answer(bound.batch.images)
        assert (answer.choice, answer.tier, answer.kind) == (1, tier, AnswerKind.READ), completion
        if model.stop:
            assert answer.text.endswith(model.stop)
            kept = answer.text.removeprefix(opened_thought(bound.prompts[0]))
            assert len(passes) <= len(model.tokenizer(kept, add_special_tokens=False)["input_ids"]) + 1
        assert answer.text.startswith(opened_thought(bound.prompts[0]))


@pytest.mark.parametrize("name", GENERATING)
def test_what_its_limit_cuts_short_is_no_answer(name: str, checkpoints: dict[str, Path]) -> None:
    completion = next(iter(FORMATS[name].completions))
    model = opened(name, checkpoints, max_new_tokens=4)
    bound = model.bind([QUESTION])
    with writing(model, completion):
        (answer,) = bound.answer(bound.batch.images)
    assert (answer.choice, answer.tier, answer.kind) == (None, Tier.UNPARSED, AnswerKind.TRUNCATED)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in GENERATING])
def test_a_model_that_is_asked_for_a_letter_answers_by_letter(
    name: str, checkpoints: dict[str, Path]
) -> None:
    bound = opened(name, checkpoints).bind([QUESTION])
    (answer,) = bound.answer(bound.batch.images)
    assert answer.choice in range(4)
    assert (answer.kind, answer.tier, answer.text) == (None, None, "")


def test_a_batch_that_stops_at_different_places_reads_as_each_alone(checkpoints: dict[str, Path]) -> None:
    model = opened("med-r1", checkpoints, max_new_tokens=24)
    tokens = model.tokenizer("<answer>B</answer>", add_special_tokens=False)["input_ids"]
    pad, end = model.tokenizer.pad_token_id, model.tokenizer.eos_token_id
    assert model._up_to_the_end([*tokens, pad, pad]) == tokens
    assert model._up_to_the_end([*tokens, end, pad]) == tokens
    assert model._up_to_the_end([*tokens[:3], end, pad]) == [*tokens[:3], end]
    assert not model.is_truncated(tokens)
    assert model.is_truncated(tokens[:2] * 12)
    assert not model.is_truncated([*tokens[:2] * 12, end])

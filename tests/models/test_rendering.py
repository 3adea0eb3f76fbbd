"""A question becomes the model's own kind of prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tokenizers.processors import TemplateProcessing

from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_image, synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = synthetic_questions()[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["LLaVA"].save(tmp_path_factory.mktemp("llava"))


def load(checkpoint: Path, mode: AnswerMode = AnswerMode.LETTER, prompt: str | None = None) -> HuggingFaceVLM:
    return HuggingFaceVLM.from_pretrained(checkpoint, mode=mode, device="cpu", prompt=prompt)


@pytest.mark.parametrize("mode", AnswerMode)
def test_chat_template_gets_image_question_and_turn(checkpoint: Path, mode: AnswerMode) -> None:
    words = STRATEGIES[mode].prompt(QUESTION)
    assert load(checkpoint, mode).render(QUESTION) == f"<s>user\n<image>{words}assistant\n"


def test_prompt_of_the_card_replaces_the_template(checkpoint: Path) -> None:
    model = load(checkpoint, prompt="USER: <image>\n{prompt} ASSISTANT:")
    assert (
        model.render(QUESTION)
        == f"USER: <image>\n{STRATEGIES[AnswerMode.LETTER].prompt(QUESTION)} ASSISTANT:"
    )


def test_checkpoint_without_template_gets_a_plain_prompt(checkpoint: Path) -> None:
    model = load(checkpoint)
    model.processor.chat_template = model.tokenizer.chat_template = None
    assert model.render(QUESTION) == f"<image>\n{STRATEGIES[AnswerMode.LETTER].prompt(QUESTION)}\nAnswer:"


@pytest.mark.parametrize(("mode", "thinks"), [(AnswerMode.LETTER, False), (AnswerMode.REASONING, True)])
def test_template_is_told_whether_to_think(checkpoint: Path, mode: AnswerMode, thinks: bool) -> None:
    model = load(checkpoint, mode)
    model.processor.chat_template = "<image>{{ 'think' if enable_thinking else 'answer' }}"
    assert model.render(QUESTION) == ("<image>think" if thinks else "<image>answer")


@pytest.mark.parametrize("prompt", ["<s>user <image>", "user <image>"])
def test_first_token_is_written_once(checkpoint: Path, prompt: str) -> None:
    model = load(checkpoint)
    first = model.tokenizer.bos_token_id
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", first)]
    )
    tokens = model.process([prompt], [synthetic_image(0)])["input_ids"][0].tolist()
    assert tokens[0] == first
    assert tokens.count(first) == 1

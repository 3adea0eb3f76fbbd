"""The tokenizer of the tiny models: lossless, chat-shaped, and safe for likelihoods and for TRL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.tokenizer import SPECIAL_TOKENS, TAGS, learn_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

CORPUS = ["CT of the chest. Mild nodule. A) nodule\nB) effusion\nThink between <think> and </think>."] * 3
TOKENIZER = learn_tokenizer(CORPUS, vocabulary=400)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40).filter(lambda text: not any(token in text for token in SPECIAL_TOKENS)))
def test_any_text_survives(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text


def test_a_frequent_word_is_one_token_and_the_vocabulary_is_bounded() -> None:
    assert len(TOKENIZER(" nodule").input_ids) == 1
    assert len(TOKENIZER) <= 400


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("before", ["<|im_start|>assistant\n", "<think></think><answer>", "\n"])
def test_a_letter_is_one_token_of_its_own_wherever_it_answers(before: str, letter: str) -> None:
    alone = TOKENIZER(letter).input_ids
    assert len(alone) == 1
    assert TOKENIZER(before + letter).input_ids == TOKENIZER(before).input_ids + alone


def test_tags_are_tokens_that_decoding_keeps() -> None:
    completion = STRATEGIES[AnswerMode.REASONING].write("a nodule", "B")
    ids = TOKENIZER(completion + TOKENIZER.eos_token).input_ids
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == completion
    assert all(len(TOKENIZER(tag).input_ids) == 1 for tag in TAGS)


def test_padding_side_and_chat_survive_saving(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    batch = loaded(["nodule", "a longer text than that"], padding=True)
    assert loaded.padding_side == "left"
    assert batch["attention_mask"][0][0] == 0
    assert batch["attention_mask"][0][-1] == 1
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    assert loaded.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (loaded.eos_token, loaded.pad_token) == ("<|im_end|>", "<|endoftext|>")

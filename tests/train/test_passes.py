"""The count of passes: what a training cost, by hooks on a real decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.examples import open_images
from medrobust_bench.train.passes import PassCounter
from tests.train.conftest import SMALL, attentive_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> Any:
    return attentive_model(tokenizer)


@pytest.fixture
def passes(model: Any) -> Iterator[PassCounter]:
    counter = PassCounter(model)
    yield counter
    counter.remove()


@pytest.fixture
def inputs(tokenizer: PreTrainedTokenizerFast, questions: tuple[Question, ...]) -> Any:
    processor = build_processor(SMALL, tokenizer)
    asked = questions[:2]
    return processor(
        text=[chat_prompt(processor, STRATEGIES[AnswerMode.LETTER].prompt(question)) for question in asked],
        images=open_images(asked),
        padding=True,
        return_tensors="pt",
    )


def test_an_update_is_a_pass_forward_and_one_back(model: Any, passes: PassCounter, inputs: Any) -> None:
    tokens = inputs.input_ids.numel()
    loss = model(**inputs).logits.logsumexp(-1).mean()
    assert (passes.forward, passes.backward) == (tokens, 0)
    loss.backward()
    assert (passes.forward, passes.backward) == (tokens, tokens)


def test_the_gradient_of_frozen_weights_counts_where_it_comes_back(
    model: Any, passes: PassCounter, inputs: Any
) -> None:
    model.requires_grad_(False)
    pixels = inputs.pixel_values.requires_grad_()
    loss = model(**{**inputs, "pixel_values": pixels}).logits.logsumexp(-1).mean()
    torch.autograd.grad(loss, pixels)
    assert passes.forward == passes.backward == inputs.input_ids.numel()


def test_generation_counts_every_token_once(model: Any, passes: PassCounter, inputs: Any) -> None:
    written = model.generate(**inputs, do_sample=False, max_new_tokens=5, min_new_tokens=5)
    assert written.shape[1] == inputs.input_ids.shape[1] + 5
    # the last token is written, but nothing asks what would follow it
    assert (passes.forward, passes.backward) == (inputs.input_ids.numel() + 2 * 4, 0)


def test_what_is_measured_while_paused_is_not_counted(model: Any, passes: PassCounter, inputs: Any) -> None:
    with passes.paused():
        with passes.paused():
            model(**inputs)
        model(**inputs).logits.sum().backward()
    assert (passes.forward, passes.backward) == (0, 0)
    model(**inputs)
    assert passes.forward == inputs.input_ids.numel()


def test_a_count_goes_on_after_an_interruption(model: Any, passes: PassCounter, inputs: Any) -> None:
    model(**inputs).logits.sum().backward()
    before = passes.counts()
    later = PassCounter(model)
    later.go_on_from(before)
    assert later.counts()["passes/forward"] == before["passes/forward"] > 0
    assert later.counts()["passes/backward"] == before["passes/backward"] > 0
    later.remove()

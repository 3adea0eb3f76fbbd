"""A copy in float32 searches for a model that answers in half precision."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from medrobust_bench.models.prompt import AnswerMode
from tests.models.qwen2_vl import load, loss, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question


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

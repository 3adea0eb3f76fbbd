"""A tiny Qwen2-VL for the tests of one adapter, and what they do with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medrobust_bench.attacks.losses import CrossEntropy, Loss, loss_at
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    import torch

    from medrobust_bench.models.adapter import BoundQuestions


def load(checkpoint: Path, mode: AnswerMode = AnswerMode.LETTER, **options: Any) -> HuggingFaceVLM:
    return HuggingFaceVLM.from_pretrained(
        checkpoint, mode=mode, device="cpu", **{"max_new_tokens": 6, **options}
    )


def loss(bound: BoundQuestions, pixels: torch.Tensor, answers: list[int]) -> Loss:
    """Cross-entropy, were these the right answers."""
    questions = [replace(q, answer=answer) for q, answer in zip(bound.batch.questions, answers, strict=True)]
    asked = replace(bound, batch=replace(bound.batch, questions=tuple(questions)))
    return loss_at(CrossEntropy(), asked, pixels, [""] * len(pixels))


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

"""The self-test of a model on the image path finds what is wrong with it, and says what it asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from medrobust_bench.models import selftest
from medrobust_bench.models.probes import synthetic_image, synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.selftest import Verdict
from tests.models.families import FAMILIES
from tests.models.qwen2_vl import load

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.huggingface import HuggingFaceVLM


def test_half_precision_is_recorded_and_not_judged_by_finite_differences(checkpoint: Path) -> None:
    model = load(checkpoint, dtype="bfloat16")
    assert model.record.dtype == "bfloat16"
    report = selftest.run(model)
    assert report.passed
    assert report.check("slope").verdict is Verdict.UNDECIDED


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

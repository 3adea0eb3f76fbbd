"""The conformance kit passes honest adapters and sees through those that break a promise of the port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from medrobust_bench.models.adapter import Answer
from medrobust_bench.models.averaged import smoothed
from medrobust_bench.models.bound import HuggingFaceGeneration
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.selftest import Verdict
from medrobust_bench.records import ModelRecord, Smoothing
from medrobust_bench.testing import ToyAdapter, ToyQuestions, check_adapter
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.models.adapter import CompletionLogits


def adapter_of(kind: type[ToyQuestions], dtype: str = "float32") -> ToyAdapter:
    class Broken(ToyAdapter):
        @property
        def record(self) -> ModelRecord:
            return super().record.model_copy(update={"dtype": dtype})

        def bind(self, questions: Any) -> Any:
            bound = super().bind(questions)
            return kind(bound.batch, bound.weights, bound.biases)

    return Broken(scale=0.01)


class AsFloat64(ToyQuestions):
    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.logits(pixels)


class WithoutMissingOptions(ToyQuestions):
    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(super().scores(pixels), neginf=0.0)


class Detached(ToyQuestions):
    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().scores(pixels.detach())


class WrongSlope(ToyQuestions):
    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return (
            super().scores(pixels.detach()) + super().scores(2 * pixels) - super().scores(2 * pixels.detach())
        )


class SeesItsNeighbours(ToyQuestions):
    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().scores(pixels + 0.3 * pixels.mean(0, keepdim=True))


class LosesItsPlace(ToyQuestions):
    def select(self, rows: Sequence[int]) -> ToyQuestions:
        return super().select(sorted(rows))


class RoundsByItsCompany(ToyQuestions):
    """As deep models in half precision do, whose kernels add in another order for another batch."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        scores = super().scores(pixels)
        together = "".join(question.id for question in self.batch.questions)
        noise = torch.rand(
            scores.shape, generator=torch.Generator().manual_seed(len(together) * ord(together[-1]))
        )
        return scores + 0.3 * (noise - 0.5)


class Random(ToyQuestions):
    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().scores(pixels) + torch.randn(())


class DeployedOtherwise(ToyQuestions):
    def answer(self, images: Any, *, exact: bool = True) -> list[Answer]:
        return [Answer(int(choice)) for choice in self.scores(self.batch.pixels()).argmin(1)]


class NamesNoOption(ToyQuestions):
    def answer(self, images: Any, *, exact: bool = True) -> list[Answer]:
        return [Answer(7) for _ in images]


def test_the_toy_passes_plain_and_smoothed() -> None:
    report = check_adapter(ToyAdapter(scale=0.01))
    assert report.passed, report
    assert {check.name for check in report.checks} == {
        "gradient",
        "slope",
        "deterministic",
        "scores",
        "selection",
        "answers",
    }
    assert check_adapter(smoothed(ToyAdapter(scale=0.01), Smoothing(sigma=0.1, n=10, alpha=0.1))) == report


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (AsFloat64, "scores"),
        (WithoutMissingOptions, "scores"),
        (Detached, "gradient"),
        (WrongSlope, "slope"),
        (SeesItsNeighbours, "selection"),
        (LosesItsPlace, "selection"),
        (Random, "deterministic"),
        (DeployedOtherwise, "answers"),
        (NamesNoOption, "answers"),
    ],
)
def test_a_broken_promise_is_found(kind: type[ToyQuestions], check: str) -> None:
    report = check_adapter(adapter_of(kind))
    assert report.check(check).verdict is Verdict.FAILED


def selection(kind: type[ToyQuestions], dtype: str) -> Verdict:
    return check_adapter(adapter_of(kind, dtype)).check("selection").verdict


def test_rounding_in_half_precision_is_not_held_to_be_seeing_the_neighbours() -> None:
    assert selection(RoundsByItsCompany, "float32") is Verdict.FAILED
    assert selection(RoundsByItsCompany, "bfloat16") is Verdict.PASSED
    assert selection(LosesItsPlace, "bfloat16") is Verdict.FAILED


def test_a_model_without_gradient_may_say_so() -> None:
    adapter = adapter_of(Detached)
    adapter.differentiable = False
    report = check_adapter(adapter)
    assert report.passed
    assert report.check("gradient").verdict is Verdict.HANDLED


@pytest.mark.parametrize("mode", AnswerMode)
def test_a_hugging_face_model_passes_its_own_checks_and_those_of_the_port(
    mode: AnswerMode, tmp_path: Path
) -> None:
    folder = FAMILIES["Qwen2-VL"].save(tmp_path)
    model = HuggingFaceVLM.from_pretrained(folder, mode=mode, device="cpu", max_new_tokens=6)
    report = check_adapter(model)
    assert report.passed, report
    assert {"replay", "slope", "batch", "selection", "answers"} <= {check.name for check in report.checks}
    assert ("completions" in {check.name for check in report.checks}) == model.strategy.generates


def test_completions_whose_logits_are_of_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FAMILIES["Qwen2-VL"].save(tmp_path)
    model = HuggingFaceVLM.from_pretrained(folder, mode=AnswerMode.REASONING, device="cpu", max_new_tokens=6)
    logits = HuggingFaceGeneration.logits

    def one_place_on(self: Any, pixels: Any, completions: Any) -> CompletionLogits:
        said = logits(self, pixels, completions)
        return said._replace(logits=said.logits.roll(1, dims=1))

    monkeypatch.setattr(HuggingFaceGeneration, "logits", one_place_on)
    assert check_adapter(model).check("completions").verdict is Verdict.FAILED

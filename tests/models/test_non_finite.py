"""Logits that are no numbers are a fault of the question, never an answer, whatever the answer mode."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import medrobust_bench
from medrobust_bench.cli import main
from medrobust_bench.models.averaged import smoothed
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.non_finite import NonFiniteLogitsError, refuse_non_finite
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve, unpinned
from medrobust_bench.records import Smoothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.data.question import Question

CHECKPOINTS = Path(medrobust_bench.__file__).parent / "checkpoints"
QUESTIONS = synthetic_questions()


@pytest.fixture
def overflows(monkeypatch: pytest.MonkeyPatch) -> Callable[[HuggingFaceVLM, Question, float], None]:
    """Makes the model's logits `value` wherever it reads one question, and leaves the others alone."""

    def spoil(adapter: HuggingFaceVLM, question: Question, value: float) -> None:
        forward = adapter.model.forward
        words = _row(adapter.tokenizer(question.text, add_special_tokens=False).input_ids[1:])

        def spoilt(*args: Any, **inputs: Any) -> Any:
            outputs = forward(*args, **inputs)
            rows = torch.tensor([words in _row(tokens) for tokens in inputs["input_ids"].tolist()])
            outputs.logits = outputs.logits.masked_fill(rows[:, None, None], value)
            return outputs

        spoilt.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
        monkeypatch.setattr(adapter.model, "forward", spoilt)

    return spoil


def _row(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


def opened(mode: AnswerMode) -> HuggingFaceVLM:
    name = "tiny-sft-letter" if mode in (AnswerMode.LETTER, AnswerMode.OPTION_TEXT) else "tiny-sft-reasoning"
    model = load_model(unpinned(resolve(name, answer_mode=mode)))
    assert isinstance(model, HuggingFaceVLM)
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("mode", AnswerMode)
def test_the_question_is_named_and_the_others_are_answered(
    mode: AnswerMode, value: float, overflows: Callable[[HuggingFaceVLM, Question, float], None]
) -> None:
    adapter = opened(mode)
    assert adapter.batchable
    bound = adapter.bind(QUESTIONS)
    overflows(adapter, QUESTIONS[1], value)
    for ask in (
        lambda: bound.answer(bound.batch.images),
        lambda: bound.answer(bound.batch.images, exact=False),
        lambda: bound.scores(bound.batch.pixels()),
        lambda: adapter.bind(QUESTIONS[1:2]).answer(bound.batch.images[1:2]),  # alone, NaN would be answer A
    ):
        with pytest.raises(NonFiniteLogitsError) as caught:
            ask()
        assert caught.value.questions == ("synthetic-1",)
    rest = bound.select([0, 2])
    assert len(rest.answer(rest.batch.images)) == 2


def test_a_smoothed_model_has_no_answer_either(
    overflows: Callable[[HuggingFaceVLM, Question, float], None],
) -> None:
    adapter = opened(AnswerMode.LETTER)
    bound = smoothed(adapter, Smoothing(sigma=0.1, n=8, alpha=0.1)).bind(QUESTIONS)
    overflows(adapter, QUESTIONS[2], float("nan"))
    with pytest.raises(NonFiniteLogitsError, match="synthetic-2"):
        bound.answer(bound.batch.images)


def test_tokens_that_are_ruled_out_are_no_fault() -> None:
    logits = torch.zeros(3, 2, 5)
    logits[:, :, 1] = -torch.inf
    refuse_non_finite(logits, QUESTIONS)
    logits[1, 1] = torch.nan
    refuse_non_finite(logits, QUESTIONS, torch.tensor([[True, True], [True, False], [True, True]]))
    with pytest.raises(NonFiniteLogitsError, match="synthetic-1"):
        refuse_non_finite(logits, QUESTIONS)


def test_a_run_counts_it_apart_and_answers_the_others(
    tmp_path: Path, overflows: Callable[[HuggingFaceVLM, Question, float], None]
) -> None:
    adapter = opened(AnswerMode.LETTER)
    data = medrobust_bench.load_data("phantoms", limit=16)
    bad = data.questions[0]
    alike = sum(question.text == bad.text for question in data.questions)
    overflows(adapter, bad, float("nan"))
    (tmp_path / "r").mkdir()
    run = medrobust_bench.evaluate(
        model=adapter, threats="noise:draws=1", data=data, out=tmp_path / "r", max_failed=0.9
    )
    named = {failure.question for failure in run.failures}
    assert bad.id in named
    assert len(named) == alike < 16
    assert all("NonFiniteLogitsError" in str(failure) for failure in run.failures)
    assert run["clean"].clean_accuracy.n == 16 - alike


def poisoned(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    shutil.copytree(CHECKPOINTS / "tiny-sft-letter", folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def whole_layer(weights: dict[str, torch.Tensor]) -> None:
    name = next(name for name, value in weights.items() if "layers.3" in name and value.dim() == 2)
    weights[name].fill_(torch.nan)


def one_number(weights: dict[str, torch.Tensor]) -> None:
    weights[next(name for name in weights if name.endswith("norm.weight"))].view(-1)[0] = torch.nan


def one_token(weights: dict[str, torch.Tensor]) -> None:
    weights[next(name for name in weights if "embed_tokens" in name)][-1] = torch.inf


@pytest.mark.parametrize("change", [whole_layer, one_number, one_token])
@pytest.mark.parametrize(
    "words",
    [
        ("models", "check"),
        ("run", "--limit", "2", "--batch-size", "1", "--threat", "noise:draws=1", "--out", "r", "--model"),
        ("run", "--limit", "2", "--threat", "pgd-linf:steps=2", "--out", "r", "--model"),
    ],
)
def test_a_poisoned_checkpoint_gives_no_number(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, torch.Tensor]], None],
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*words, str(poisoned(tmp_path / "nan", change))])
    assert done.exit_code == 2, done.output
    assert "NaN or infinite" in done.output
    assert not list(tmp_path.glob("r/results/*"))

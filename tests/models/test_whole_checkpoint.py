"""Never a number about another model than the one named: a checkpoint with a hole, or a stranger, is refused."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import medrobust_bench
from medrobust_bench.cli import main
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

SHIPPED = Path(medrobust_bench.__file__).parent / "checkpoints" / "tiny-sft-letter"
WEIGHTS = load_file(SHIPPED / "model.safetensors")


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SHIPPED, folder)
    save_file(change(dict(WEIGHTS)), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda w: {k: v for k, v in w.items() if ".layers.2." not in k}, "12 tensors are missing"),
        (lambda w: {**w, "model.extra.weight": torch.zeros(2)}, "1 tensors have no place in the model"),
        (
            lambda w: {k: v[:-1].contiguous() if "embed_tokens" in k else v for k, v in w.items()},
            "1 tensors have another shape",
        ),
        (
            lambda w: {k.replace("layers.1.", "layers.7."): v for k, v in w.items()},
            "have no place in the model",
        ),
    ],
)
def test_a_hole_a_stranger_or_another_shape_is_refused(
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    what: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers.modeling_utils"), "handlers", [caplog.handler])
    folder = changed(tmp_path / "ck", change)
    with pytest.raises(medrobust_bench.InvalidInputError, match=what):
        medrobust_bench.load_model(str(folder))
    for command in (["run", "--limit", "2", "--threat", "noise:draws=1", "--out", str(tmp_path / "r"), "--model"],
                    ["models", "check"]):  # fmt: skip
        done = CliRunner().invoke(main, [*command, str(folder)])
        assert done.exit_code == 2, done.output
        assert what in done.output
    assert "LOAD REPORT" not in caplog.text, "it is told once"


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(sorted(WEIGHTS)))
def test_no_tensor_may_be_dropped(tmp_path: Path, name: str) -> None:
    folder = changed(tmp_path / "ck", lambda w: {k: v for k, v in w.items() if k != name})
    with pytest.raises(medrobust_bench.InvalidInputError, match=r"tensors are missing"):
        medrobust_bench.load_model(str(folder))


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 7368944\n", None],
    ids=["empty", "git LFS pointer", "cut off"],
)
def test_weights_that_are_no_weights_are_a_problem(tmp_path: Path, content: bytes | None) -> None:
    folder = changed(tmp_path / "ck", lambda w: w)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000] if content is None else content)
    done = CliRunner().invoke(main, ["models", "check", str(folder)])
    assert done.exit_code == 2, done.output


@pytest.mark.parametrize("device", ["banana", "cuda:7", "meta"])
def test_a_device_that_is_not_there_is_a_problem(device: str) -> None:
    done = CliRunner().invoke(main, ["models", "check", "tiny-sft-letter", "--device", device])
    assert done.exit_code == 2, done.output


def test_what_is_shipped_is_whole() -> None:
    assert resolve("tiny-sft-letter").answer_mode is AnswerMode.LETTER
    assert medrobust_bench.load_model("tiny-sft-letter").record.parameters > 0

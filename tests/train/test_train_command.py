"""`medrobust train sft` as a process: several of them, one that is killed, one that is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from medrobust_bench.cli import main
from medrobust_bench.train.checkpoints import CHECKPOINTS
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.settings import (
    CURVE_FILE,
    NoiseSettings,
    Stage,
    Task,
)
from tests.train.fine_tuning import TINY, weights


def launch(recipe: Path, out: Path, *more: str, processes: int = 1) -> subprocess.Popen[bytes]:
    distributed = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = ["-m", "medrobust_bench", "train", "sft", str(recipe), "--out", str(out), *more]
    with said(out).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *(distributed if processes > 1 else []), *command],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            stdout=log,
            stderr=log,
        )


def said(out: Path) -> Path:
    """Where a launched training writes what it says."""
    return out.with_name(f"{out.name}.log")


def ended_well(process: subprocess.Popen[bytes], out: Path) -> bool:
    """Waits for a launched training, and shows what it said where it fails."""
    if (code := process.wait(300)) != 0:
        print(said(out).read_text(errors="replace"))
    return code == 0


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    tasks = {Task.REASON: 0.5, Task.MATCH: 0.5}  # without an image the vision tower has no gradient
    stages = (Stage(steps=4, tasks=tasks),)
    settings = TINY.model_copy(update={"stages": stages, "log_every": 1, "noise": NoiseSettings(sigma=0.1)})
    recipe.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    for processes in (1, 2):
        out = tmp_path / str(processes)
        assert ended_well(launch(recipe, out, processes=processes), out)
    curves = [StepLog(tmp_path / number / CURVE_FILE).entries() for number in "12"]
    assert [entry["step"] for entry in curves[1]] == [1, 2, 3, 4]
    losses = [torch.tensor([[e["loss"], e["grad_norm"]] for e in curve]) for curve in curves]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
    assert sorted(p.name for p in (tmp_path / "1").iterdir()) == sorted(
        p.name for p in (tmp_path / "2").iterdir()
    )


@pytest.mark.slow
def test_a_killed_training_resumed_equals_an_unbroken_one(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    stages = (Stage(steps=60, tasks={Task.REASON: 1.0}),)
    settings = TINY.model_copy(update={"stages": stages, "save_every": 5, "evaluate_every": 30})
    recipe.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ended_well(launch(recipe, whole), whole)
    process = launch(recipe, broken)
    deadline = time.monotonic() + 200
    while not (broken / CHECKPOINTS / "checkpoint-10").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (broken / "model.safetensors").exists()
    assert ended_well(launch(recipe, broken, "--resume"), broken)
    assert all(torch.equal(value, weights(broken)[name]) for name, value in weights(whole).items())
    curves = [StepLog(folder / CURVE_FILE).entries() for folder in (whole, broken)]
    assert [(e["step"], e["loss"]) for e in curves[0]] == [(e["step"], e["loss"]) for e in curves[1]]


def test_the_command_refuses_a_used_folder_and_a_wrong_recipe(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    used = CliRunner().invoke(main, ["train", "sft", "tiny-sft-reasoning", "--out", str(tmp_path)])
    assert used.exit_code == 2
    assert "already holds something" in used.output
    assert (tmp_path / "old").read_text() == "kept"
    wrong = CliRunner().invoke(main, ["train", "sft", "nothing"])
    assert wrong.exit_code == 2
    assert "tiny-sft-reasoning" in wrong.output

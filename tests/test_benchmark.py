"""The main job as a user sees it, on the linear toy: any interruption, the same result."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medrobust_bench
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Outcome, Result
from medrobust_bench.records.folder import RunFolder
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench import Run

THREATS = ["pgd-linf:eps=2/255,step_size=1/255,steps=3", "noise:draws=2", "certified-l2:n0=5,n=10,sigma=0.01"]


def world() -> tuple[LinearAdapter, Dataset]:
    adapter = LinearAdapter(seed=1, shape=(6, 6), scale=0.3)
    return adapter, Dataset(
        name="linear", split="test", questions=tuple(make_questions(adapter, 9)), synthetic=True
    )


def evaluate(out: Path, *, resume: bool = False, **changes: object) -> Run:
    adapter, dataset = world()
    arguments = {"model": adapter, "threats": THREATS, "data": dataset, "batch_size": 4, "resume": resume}
    return medrobust_bench.evaluate(out=out, **{**arguments, **changes})


def result_files(out: Path) -> dict[str, object]:
    """Every result as written, but for the one field that is a measurement of the clock."""
    files = {}
    for path in sorted((out / "results").iterdir()):
        content = json.loads(path.read_text())
        del content["cost"]["seconds"]
        files[path.name] = content
    return files


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    evaluate(out)
    return out


def test_a_run_writes_what_it_promises(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        ".lock",
        "run.json",
        "journal.jsonl",
        "witnesses",
        "results",
        "leaderboard.md",
    }
    results = [Result.model_validate_json(path.read_text()) for path in (finished / "results").iterdir()]
    assert {result.threat.kind for result in results} == {
        "clean",
        "pgd",
        "noise",
        "certification",
        "worst-case",
    }
    for result in results:
        assert result.metrics.clean_accuracy.value == 1.0
        assert result.data.n == 9
        assert sum(group.clean_accuracy.n for group in result.metrics.by_modality.values()) == 9


def test_the_attack_bounds_what_noise_finds(finished: Path) -> None:
    robust = {
        result.threat.kind: result.metrics.robust_accuracy
        for path in (finished / "results").iterdir()
        for result in [Result.model_validate_json(path.read_text())]
    }
    assert robust["pgd"] is not None
    assert robust["noise"] is not None
    assert robust["pgd"].value < robust["noise"].value


def test_a_second_run_is_the_same_to_the_last_digit(finished: Path, tmp_path: Path) -> None:
    evaluate(tmp_path / "again")
    assert result_files(tmp_path / "again") == result_files(finished)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1))
def test_a_journal_cut_anywhere_resumes_to_the_same_results(
    cut: float, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("cut") / "run"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "results")
    journal = (out / "journal.jsonl").read_bytes()
    (out / "journal.jsonl").write_bytes(journal[: int(cut * len(journal))])
    evaluate(out, resume=True)
    assert result_files(out) == result_files(finished)


def test_killed_at_random_points_it_resumes_to_the_same_results(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    slow = (
        "import sys, time; from pathlib import Path; from tests import test_benchmark as t;"
        "from medrobust_bench.records.folder import RunFolder; write = RunFolder.record_outcomes\n"
        "def record(*a, **k): write(*a, **k); print('chunk', flush=True); time.sleep(0.05)\n"
        "RunFolder.record_outcomes = record; t.evaluate(Path(sys.argv[1]), resume=sys.argv[2] == 'True')"
    )
    draw = random.Random(0)
    resume = False
    for _attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", slow, str(out), str(resume)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _chunk in range(draw.randint(1, 3)):
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        resume = True
    assert not (out / "results").exists(), "killed too late to prove anything"
    evaluate(out, resume=True)
    assert result_files(out) == result_files(finished)


def test_certificates_are_kept_one_by_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cut"
    write, written = RunFolder.record_outcomes, []

    def stop_at_the_third(folder: RunFolder, outcomes: list[Outcome], *others: Any, **more: Any) -> None:
        written.extend(outcome for outcome in outcomes if outcome.certificate)
        if len(written) == 3:
            raise KeyboardInterrupt
        write(folder, outcomes, *others, **more)

    monkeypatch.setattr(RunFolder, "record_outcomes", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(out)
    monkeypatch.undo()
    folder = RunFolder(out)
    kept = [outcome for outcome in folder.finished(folder.read().plan) if outcome.certificate]
    assert kept == written[:2]
    evaluate(out, resume=True)
    assert result_files(out) == result_files(finished)


def test_a_finished_run_is_not_overwritten(finished: Path) -> None:
    with pytest.raises(InvalidInputError, match="already holds a run"):
        evaluate(finished)


def test_resuming_something_else_names_the_difference(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().split(b"\n")[0] + b"\n")
    with pytest.raises(InvalidInputError, match="seed differs from the interrupted run: 0 then, 1 now"):
        evaluate(tmp_path / "run", resume=True, seed=1)
    with pytest.raises(InvalidInputError, match="is not the model of the interrupted run: weights differ"):
        evaluate(tmp_path / "run", resume=True, model=LinearAdapter(seed=2, shape=(6, 6), scale=0.3))


def test_problems_are_reported_together_before_any_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidInputError) as raised:
        medrobust_bench.evaluate(
            out=tmp_path / "file",
            model=["no-such-model", "tiny-sft-lettter"],
            threats=["pgd-lnf", "pgd-linf:epps=1"],
            data=str(tmp_path / "nowhere"),
        )
    text = str(raised.value)
    for culprit in ("file", "no-such-model", "tiny-sft-lettter", "pgd-lnf", "epps", "nowhere"):
        assert culprit in text
    assert len(raised.value.problems) >= 6


def test_a_model_without_gradients_is_only_offered_gradient_free_threats(tmp_path: Path) -> None:
    adapter, _dataset = world()
    adapter.differentiable = False
    with pytest.raises(InvalidInputError, match="gives no gradient"):
        evaluate(tmp_path / "run", model=adapter)
    assert evaluate(tmp_path / "noise", model=adapter, threats="noise:draws=2").results


def test_a_threat_that_learns_needs_a_training_split_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="questions in memory have no training split"):
        evaluate(tmp_path / "memory", threats="patch-universal")
    adapter, _dataset = world()
    with pytest.raises(InvalidInputError, match="the training split is attacked"):
        medrobust_bench.evaluate(
            out=tmp_path / "train", model=adapter, threats="patch-universal", data="phantoms", split="train"
        )


def test_a_universal_patch_is_trained_once_per_model_and_again_on_resume(tmp_path: Path) -> None:
    settings = {
        "model": LinearAdapter(seed=1, shape=(64, 64), scale=0.01),
        "threats": ["patch-universal:training=4,epochs=2"],
        "data": "phantoms",
        "modalities": ("CT",),
        "limit": 12,
        "batch_size": 4,
    }
    medrobust_bench.evaluate(out=tmp_path / "whole", **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    lines = (tmp_path / "cut" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut" / "journal.jsonl").write_bytes(b"".join(lines[:10]))
    medrobust_bench.evaluate(out=tmp_path / "cut", resume=True, **settings)
    assert result_files(tmp_path / "cut") == result_files(tmp_path / "whole")

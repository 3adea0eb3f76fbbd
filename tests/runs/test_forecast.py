"""What a run will take is said before it begins, holds as a bound, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.data.phantoms.questions import open_phantoms
from medrobust_bench.data.source import sample
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.runs.evaluate import evaluate
from medrobust_bench.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.models.adapter import Adapter

THREATS = [
    "pgd-linf:steps=3,restarts=2",
    "noise:draws=4",
    "injection:queries=2",
    "certified-l2-quick:n=64,n0=0,looks=1",
]


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return load_model(resolve("tiny-sft-letter"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return sample(open_phantoms(), 6)


def test_no_run_does_more_than_was_said(
    adapter: Adapter, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = Run.plan(dataset, model=adapter, threats=THREATS)
    assert list(tmp_path.iterdir()) == []
    run = evaluate(model=adapter, threats=THREATS, data=dataset, out=tmp_path / "run")
    loads = {load.threat: load for load in said.loads}
    assert (said.questions, said.chunks) == (6, len(run.record.plan.chunks))
    for threat in run.record.plan.threats[1:]:
        cost, load = run[threat.name].cost, loads[threat.name]
        assert cost.backward_passes <= load.gradient
        assert cost.forward_passes <= load.forward + load.gradient + 2 * load.answers
        assert load.bounded
    written = sum(
        path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.suffix in (".parquet", ".jsonl")
    )
    assert written <= said.disk


def test_hours_are_shared_and_the_table_has_a_row_for_each_threat(adapter: Adapter, dataset: Dataset) -> None:
    said = Run.plan(dataset, model=adapter, threats=THREATS[1:2])
    assert said.hours() > 0
    assert said.hours(4) == said.hours() / 4
    assert [row[1] for row in said.grid().rows] == ["clean", "noise:draws=4"]
    assert "at most" in said.sentences()[0]
    assert said.memory > 1e7

"""A command computes on the cores that are free and no others; what the user chose stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from medrobust_bench import threads
from medrobust_bench.cli import main
from medrobust_bench.threads import settle_threads, thread_count


@pytest.mark.parametrize(
    ("busy", "quota", "chosen"),
    [
        (0.0, None, None),
        (0.3, None, None),
        (0.0, 16.0, None),
        (1.0, None, 7),
        (6.8, None, 1),
        (8.0, None, 1),
        (0.0, 0.5, 1),
        (0.0, 2.5, 2),
        (7.0, 4.0, 1),
        (2.0, 4.0, 4),
    ],
)
def test_threads_for_the_free_cores(busy: float, quota: float | None, chosen: int | None) -> None:
    assert thread_count({}, physical=8, busy=busy, quota=quota) == chosen


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_the_user_chose_stands(name: str) -> None:
    assert thread_count({name: "16"}, physical=64, busy=63, quota=2.0) is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen on this system")
def test_a_core_that_somebody_uses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LOOK", 0.5)
    core = min(os.sched_getaffinity(0))
    spinning = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os; os.sched_setaffinity(0, [{core}]); print(1, flush=True)\nwhile 1: 0",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert spinning.stdout is not None
        spinning.stdout.readline()
        assert threads._busy([core]) > 0.8
    finally:
        spinning.kill()
        spinning.wait()


def test_commands_that_compute_choose_before_they_import_anything_heavy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[str] = []
    monkeypatch.setattr("medrobust_bench.cli.settle_threads", lambda: chosen.append("chosen"))
    CliRunner().invoke(main, ["--help"])
    CliRunner().invoke(main, ["threats", "--help"])
    assert not chosen
    CliRunner().invoke(main, ["run", "--help"])
    assert chosen


def test_the_choice_is_left_to_torch_and_the_system_where_cores_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    settle_threads()
    assert "OMP_NUM_THREADS" not in os.environ

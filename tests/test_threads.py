"""Threads of a command wait without spinning and keep to the container's share; what the user set wins."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from medrobust_bench.cli import main
from medrobust_bench.threads import thread_settings


def test_waiting_threads_sleep_and_nothing_else_is_changed_on_a_whole_machine() -> None:
    assert thread_settings({}, cores=8, quota=None) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert thread_settings({}, cores=8, quota=8.0) == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(("quota", "threads"), [(0.5, "1"), (1.0, "1"), (2.5, "2")])
def test_a_container_gets_no_more_threads_than_its_share_of_cores(quota: float, threads: str) -> None:
    assert thread_settings({}, cores=64, quota=quota)["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_wait_policy_of_the_users_stands(name: str) -> None:
    assert thread_settings({name: "1"}, cores=8, quota=None) == {}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_of_the_users_stands(name: str) -> None:
    assert "OMP_NUM_THREADS" not in thread_settings({name: "16"}, cores=64, quota=2.0)


def test_every_command_settles_its_threads_before_it_imports_anything_that_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "to be restored")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"

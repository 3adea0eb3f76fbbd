"""`medrobust audit` on a random model of a real architecture: it must not be believed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import medrobust_bench
from medrobust_bench.cli import main

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ..models.families import Family, qwen2_vl

    folder = tmp_path_factory.mktemp("audited")
    checkpoint = Family(qwen2_vl, native=None).save(folder / "tiny")
    medrobust_bench.evaluate(
        model=str(checkpoint),
        threats="pgd-linf:steps=2",
        data="phantoms",
        limit=8,
        out=folder / "run",
    )
    return folder / "run"


def test_it_prints_and_writes_every_check_and_exits_with_one(run: Path) -> None:
    done = CliRunner().invoke(main, ["audit", str(run), "--questions", "2"])
    assert done.exit_code == 1, done.output
    document = json.loads((run / "audit.json").read_text())
    (audit,) = document["audits"]
    found = {finding["check"]: finding for finding in audit["findings"]}
    assert not document["passed"]
    assert found["chance baseline"]["verdict"] != "pass"
    assert found["gradient present"]["verdict"] == "pass"
    assert all(finding["source"] for finding in found.values())
    assert len(found) + len(audit["skipped"]) >= 30
    assert "unbounded attack" in done.output


def test_an_attack_that_the_run_has_not_is_bad_input(run: Path) -> None:
    done = CliRunner().invoke(main, ["audit", str(run), "--threat", "auto-linf"])
    assert done.exit_code == 2
    assert "use one of pgd-linf:steps=2" in done.stderr

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from medrobust_bench.cli import main
from medrobust_bench.models.cards import read_cards

if TYPE_CHECKING:
    from pathlib import Path


def test_the_list_shows_every_card_shipped_ones_first() -> None:
    done = CliRunner().invoke(main, ["models"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines[2:]} == set(read_cards())
    shipped = sorted(id for id, card in read_cards().items() if card.shipped)
    assert {"tiny-sft-letter", "tiny-sft-reasoning"} < set(shipped)
    assert [line.split()[0] for line in lines[2 : 2 + len(shipped)]] == shipped
    (medgemma,) = [line for line in lines if line.startswith("medgemma-4b")]
    assert medgemma.split()[-1] == "no"
    assert "HAI-DEF" in medgemma


def test_json_is_the_front_matter() -> None:
    done = CliRunner().invoke(main, ["models", "--json"])
    entries = {entry["id"]: entry for entry in json.loads(done.stdout)}
    assert entries.keys() == read_cards().keys()
    assert entries["med-r1"]["training_data"]["trained_on_omnimedvqa"] is True
    assert "text" not in entries["med-r1"]
    assert "path" not in entries["med-r1"]


def test_an_unknown_model_is_bad_input() -> None:
    done = CliRunner().invoke(main, ["models", "check", "qwen25-vl"])
    assert done.exit_code == 2
    assert "did you mean" in done.stderr


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights of a real architecture."""
    from ..models.families import Family, qwen2_vl

    return Family(qwen2_vl, native=None).save(tmp_path_factory.mktemp("checkpoints") / "tiny")


def test_check_prints_every_check_and_its_meaning(tiny: Path) -> None:
    done = CliRunner().invoke(main, ["models", "check", str(tiny), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("tiny\n")
    assert "replay" in done.stdout
    assert "gradients reach the pixels" in done.stdout
    assert "failed" not in done.stdout


def test_a_failed_check_exits_with_one(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medrobust_bench.models import selftest

    monkeypatch.setattr(selftest, "LARGEST_SLOPE_ERROR", -1.0)
    done = CliRunner().invoke(main, ["models", "check", str(tiny), "--device", "cpu", "--json"])
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert [check["name"] for check in report["checks"] if check["verdict"] == "failed"] == ["slope"]

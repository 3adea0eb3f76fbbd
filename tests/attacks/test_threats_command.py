"""`medrobust threats` as a user types it."""

from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from medrobust_bench.cli import main
from medrobust_bench.specs.registry import official_threats


def test_the_table_lists_every_official_threat() -> None:
    result = CliRunner().invoke(main, ["threats"])
    assert result.exit_code == 0
    for specification in official_threats():
        assert specification.name in result.output
        assert specification.summary in result.output


def test_the_page_shows_every_official_threat() -> None:
    page = (Path(__file__).parents[2] / "docs" / "threats.md").read_text("utf-8")
    shown = page.partition("$ medrobust threats\n")[2].partition("```")[0].splitlines()
    for specification in official_threats():
        assert any(
            line.startswith(f"{specification.name} ") and line.endswith(f" {specification.summary}")
            for line in shown
        ), specification.name


def test_one_threat_is_shown_in_full() -> None:
    result = CliRunner().invoke(main, ["threats", "pgd-linf:eps=4/255"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.output) == {
        "name": "pgd-linf:eps=4/255",
        "kind": "pgd",
        "norm": "linf",
        "eps": "4/255",
        "steps": 20,
        "step_size": "2/255",
        "restarts": 1,
        "loss": "cross-entropy",
        "focus": "words",
    }


def test_an_unknown_threat_exits_with_2_and_the_names() -> None:
    result = CliRunner().invoke(main, ["threats", "pdg-linf"])
    assert result.exit_code == 2
    assert "pgd-linf" in result.output

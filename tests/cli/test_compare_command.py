from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from medrobust_bench.cli import main
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("margin", "code"), [("0.02", 1), ("0.9", 0)])
def test_the_exit_code_is_the_verdict(
    schooled_run: Path, weakened_run: Path, tmp_path: Path, margin: str, code: int
) -> None:
    files = {name: tmp_path / "out" / name for name in ("c.json", "c.xml", "c.md")}
    arguments = ["compare", str(schooled_run), str(weakened_run), "--fail-if-drop", margin, "--annotations"]
    for option, name in (("--json", "c.json"), ("--junit", "c.xml"), ("--markdown", "c.md")):
        arguments += [option, str(files[name])]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    document = json.loads(files["c.json"].read_text())
    assert document["gate"]["passed"] is (code == 0)
    assert document["comparisons"][0]["measures"][0]["whole"]["n"] == 48
    assert ("<failure" in files["c.xml"].read_text()) is (code == 1)
    assert files["c.md"].read_text().startswith("**Regressed" if code else "**Passed")
    assert ("::error title=weakened%2C pgd-linf" in done.stdout) is (code == 1)


def test_without_a_margin_it_only_tells(schooled_run: Path, weakened_run: Path) -> None:
    done = CliRunner().invoke(main, ["compare", str(schooled_run), str(weakened_run)])
    assert done.exit_code == 0, done.output
    assert "schooled → weakened" in done.stdout
    assert "Regressed" not in done.stdout


def test_a_workflow_gets_annotations_unasked(
    schooled_run: Path, weakened_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    arguments = ["compare", str(schooled_run), str(weakened_run), "--fail-if-drop", "0"]
    assert "::error" in CliRunner().invoke(main, arguments).stdout
    assert "::error" not in CliRunner().invoke(main, [*arguments, "--no-annotations"]).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strict"], "needs a margin to judge by"),
        (["--junit", "x.xml"], "needs a margin to judge by"),
        (["--pair", "schooled"], "is no pair of models"),
        (["--fail-if-drop", "nan"], "is not a number"),
        (["--fail-if-drop", "0.1", "--alpha", "nan"], "is not a number"),
        (["--threat", "pgd-l2"], "was not run under threat 'pgd-l2'"),
    ],
)
def test_bad_input_exits_with_two(schooled_run: Path, arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["compare", str(schooled_run), str(schooled_run), *arguments])
    assert done.exit_code == 2
    assert said in done.stderr


def test_no_run_exits_with_two(schooled_run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compare", str(tmp_path), str(schooled_run)])
    assert done.exit_code == 2
    assert "holds no run → give the folder of a run" in done.stderr


def test_a_name_may_hold_an_equals_sign(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SchooledAdapter("lr=3e-4"), threats=("noise:draws=2",), limit=8)
    done = CliRunner().invoke(main, ["compare", str(run), str(run), "--pair", "lr=3e-4=lr=3e-4"])
    assert done.exit_code == 0, done.stderr
    assert "lr=3e-4 → lr=3e-4" in done.stdout

"""The command starts at once: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from click.testing import CliRunner

import medrobust_bench
from medrobust_bench.cli import COMMANDS, main
from medrobust_bench.data.dataset import Dataset
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LIGHT = {"click", "medrobust_bench"}
HEAVY = {
    "torch",
    "transformers",
    "art",
    "numpy",
    "pandas",
    "scipy",
    "datasets",
    "pydantic",
    "PIL",
    "rich",
    "yaml",
}


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import medrobust_bench.cli; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    packages = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert not packages & HEAVY
    assert {name for name in packages if not name.startswith("_")} <= LIGHT | {"colorama", "markupsafe"}


def test_help_lists_every_command_and_each_has_its_own() -> None:
    listing = CliRunner().invoke(main, ["--help"])
    assert listing.exit_code == 0
    for name in COMMANDS:
        assert name in listing.output
        page = CliRunner().invoke(main, [name, "--help"])
        assert page.exit_code == 0, page.output
        assert "Usage:" in page.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["rnu"]).exit_code == 2


def test_bad_input_prints_every_problem_exits_2_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run", "--model", "no-such-model", "--threat", "no-such-threat"])
    assert result.exit_code == 2
    assert "2 problems with the input" in result.output
    assert "no-such-model" in result.output
    assert "no-such-threat" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_nobody_knows_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from medrobust_bench.cli import main;"
        "done = CliRunner().invoke(main, ['run', '--model', 'nope', '--threat', 'pdg-linf']);"
        "print(done.exit_code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["2", "False", "False"]


def test_commands_that_read_runs_load_no_model_library(tmp_path: Path) -> None:
    """It would be two seconds and two thirds of their memory."""
    model = LinearAdapter(seed=1, shape=(6, 6))
    data = Dataset(name="linear", split="test", questions=tuple(make_questions(model, 8)), synthetic=True)
    run = medrobust_bench.evaluate(
        model=model, threats="noise:draws=1", data=data, out=tmp_path / "run"
    ).folder
    code = (
        "import sys; from click.testing import CliRunner; from medrobust_bench.cli import main;"
        "codes = [CliRunner().invoke(main, words.split()).exit_code for words in sys.argv[1:]];"
        "print(*codes, *{'torch', 'transformers', 'art'} & set(sys.modules))"
    )
    commands = [f"show {run}", f"compare {run} {run}", f"report {run}"]
    done = subprocess.run(
        [sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["0", "0", "0"]

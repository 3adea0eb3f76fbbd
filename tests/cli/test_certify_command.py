"""`medrobust certify`: exit codes and what a user reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from medrobust_bench.cli import main

if TYPE_CHECKING:
    from pathlib import Path

LADDER = ("0.616", "0.589", "0.571", "0.0")  # 1000, 999, 998 of 1000 draws at α = 0.001, σ = 0.25; abstains
SETTING = ("--n", "1000", "--alpha", "0.001", "--sigma", "0.25")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [
        f"{row}\t1\t{-1 if radius == '0.0' else 1}\t{radius}\t{int(radius != '0.0')}\t1.0"
        for row, radius in enumerate(LADDER)
    ]
    path = tmp_path / "log.tsv"
    path.write_text("\n".join(["idx\tlabel\tpredict\tradius\tcorrect\ttime", *rows]) + "\n")
    return path


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["certify", *map(str, arguments)])
    return result.exit_code, result.output


def test_an_honest_log_passes(log: Path) -> None:
    assert invoke("check", log, *SETTING, "--expect", 4) == (0, f"{log}: nothing found\n")


def test_findings_are_listed_per_file_and_exit_with_one(log: Path) -> None:
    other = log.with_name("other.tsv")
    other.write_text(log.read_text().replace("0.589", "0.6"))
    code, output = invoke("check", log, other, *SETTING)
    assert code == 1
    assert f"{log}: nothing found" in output
    assert f"{other}: 2 findings" in output
    assert "ladder: radius that no whole number of 1000 draws gives at α = 0.001, σ = 0.25 (line 3)" in output


def test_bad_input_exits_with_two(log: Path, tmp_path: Path) -> None:
    code, output = invoke("check", log)
    assert code == 2
    assert "add --n --alpha --sigma" in output
    assert invoke("check", tmp_path / "missing.tsv")[0] == 2
    assert invoke("check", log, "--n", 0)[0] == 2
    assert invoke("plot", log, "--out", tmp_path / "figure.doc")[0] == 2
    assert invoke("table", log, "--radii", "a,b")[0] == 2
    assert invoke("table", log, "--radii", "-1")[0] == 2


def test_the_table_is_markdown(log: Path) -> None:
    code, output = invoke("table", log, "--radii", "0,0.58,0.7")
    assert code == 0
    assert [line.replace(" ", "") for line in output.splitlines()][
        2
    ] == "|log.tsv|4|75.0|50.0|0.0|0.444|25.0|"


def test_the_plot_is_written(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures" / "curve.png"
    assert invoke("plot", log, "--out", out) == (0, f"{out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")

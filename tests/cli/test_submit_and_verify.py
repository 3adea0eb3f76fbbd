from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from medrobust_bench.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_submitted_is_accepted_and_what_is_changed_is_not(schooled_run: Path, tmp_path: Path) -> None:
    folders = ["--out", str(tmp_path / "submissions"), "--cards", str(tmp_path / "cards")]
    done = CliRunner().invoke(main, ["submit", str(schooled_run), *folders])
    assert done.exit_code == 0, done.output
    assert "a draft: complete it" in done.stdout
    written = sorted((tmp_path / "submissions").rglob("*.json"))
    assert len(written) == 3

    report = tmp_path / "report.md"
    check = [
        "verify",
        str(tmp_path / "submissions"),
        "--cards",
        str(tmp_path / "cards"),
        "--markdown",
        str(report),
    ]
    done = CliRunner().invoke(main, check)
    assert done.exit_code == 0, done.output
    assert done.stdout.count(": accepted") == 3
    assert "not ranked: not an official threat" in done.stdout

    written[0].write_text(written[0].read_text().replace('"value": 1.0', '"value": 0.99', 1))
    done = CliRunner().invoke(main, check)
    assert done.exit_code == 1
    assert done.stdout.count(": accepted") == 2
    assert "wrong: numbers: metrics.clean_accuracy.value is 0.99, its journal gives 1.0" in done.stdout
    assert "REJECTED" in report.read_text()


def test_what_cannot_be_checked_here_does_not_hide_the_rest(schooled_run: Path, tmp_path: Path) -> None:
    folders = ["--out", str(tmp_path / "submissions"), "--cards", str(tmp_path / "cards")]
    CliRunner().invoke(main, ["submit", str(schooled_run), *folders])
    first, *_others = sorted((tmp_path / "submissions").rglob("*.json"))
    first.write_text(first.read_text().replace('"name": "phantoms"', '"name": "elsewhere"'))
    done = CliRunner().invoke(
        main, ["verify", str(tmp_path / "submissions"), "--cards", str(tmp_path / "cards")]
    )
    assert done.exit_code == 2
    assert "say where it is: --data elsewhere=PATH" in done.stderr
    assert done.stdout.count(": accepted") == 2


def test_a_model_that_is_not_in_the_run(schooled_run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["submit", str(schooled_run), "--model", "x", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "has no model 'x' → use one of schooled" in done.stderr


def test_nothing_to_verify(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no submission" in done.stderr

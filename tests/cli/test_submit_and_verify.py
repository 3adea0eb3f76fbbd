from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from medrobust_bench.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def submitted(schooled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run was submitted and the card that this drafted completed; the working directory."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["submit", str(schooled_run)])
    assert done.exit_code == 0, done.output
    assert "model_cards/schooled.md  a draft: complete it" in done.stdout
    complete(tmp_path / "model_cards" / "schooled.md")
    return tmp_path


def complete(card: Path) -> None:
    draft = card.read_text()
    filled = {"TO BE FILLED IN": "filled in", "OWNER/NAME": "owner/name", "GITHUB-ACCOUNT": "somebody"}
    for blank, text in filled.items():
        draft = draft.replace(blank, text)
    card.write_text(draft)


def test_what_is_submitted_is_accepted_and_what_is_changed_is_not(submitted: Path) -> None:
    written = sorted((submitted / "leaderboards/submissions").rglob("*.json"))
    assert len(written) == 3

    report = submitted / "report.md"
    check = ["verify", "leaderboards/submissions", "--markdown", str(report)]
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


def test_a_card_that_is_still_a_draft(schooled_run: Path, tmp_path: Path) -> None:
    cards = ["--cards", str(tmp_path / "cards")]
    CliRunner().invoke(main, ["submit", str(schooled_run), "--out", str(tmp_path / "submissions"), *cards])
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "submissions"), *cards])
    assert done.exit_code == 1
    missing = "source, submitter, licence, training_data.description, the text"
    assert done.stdout.count(f"wrong: model: its card is a draft, to be completed: {missing}") == 3


def test_a_folder_of_cards_that_is_not_there(submitted: Path) -> None:
    done = CliRunner().invoke(main, ["verify", "leaderboards/submissions", "--cards", "nowhere"])
    assert done.exit_code == 2
    assert "nowhere: is no folder of model cards → give a folder of model cards" in done.stderr


def test_the_site_links_to_the_card_in_the_working_directory(submitted: Path) -> None:
    done = CliRunner().invoke(main, ["leaderboard", "build"])
    assert done.exit_code == 0, done.output
    assert (
        "(../../model_cards/schooled.md)"
        in (submitted / "leaderboards/phantoms/noise-draws-2.md").read_text()
    )
    assert "licence filled in" in (submitted / "leaderboards/site/models/schooled.html").read_text()


def test_what_cannot_be_checked_here_does_not_hide_the_rest(submitted: Path) -> None:
    first, *_others = sorted((submitted / "leaderboards/submissions").rglob("*.json"))
    first.write_text(first.read_text().replace('"name": "phantoms"', '"name": "elsewhere"'))
    done = CliRunner().invoke(main, ["verify", "leaderboards/submissions"])
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

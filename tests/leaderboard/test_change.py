"""Pull requests: whose files they touch, and what may lie in the folder at all."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.change import Change, check_change, entries, read_change
from medrobust_bench.leaderboard.folder import strays
from medrobust_bench.models.cards import read_cards
from medrobust_bench.problems import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.models.cards import Card
    from tests.leaderboard.forgery import Forgery

PLACE = "leaderboards/submissions/phantoms/pgd-linf"


def said(name: str, cards: dict[str, Card], *, author: str = "somebody", added: bool = True) -> str:
    return "\n".join(map(str, check_change([Change(name, added)], cards=cards, author=author)))


@pytest.mark.parametrize(
    "name",
    [
        f"{PLACE}/schooled.json",
        f"{PLACE}/schooled/journal.jsonl",
    ],
)
def test_a_submitter_may_change_what_is_of_his_model(name: str, cards: dict[str, Card]) -> None:
    assert said(name, cards) == ""
    assert said(name, cards, author="SomeBody") == ""
    assert "is for somebody to change, not for rival" in said(name, cards, author="rival")


def test_a_card_comes_with_a_submission_of_its_model(cards: dict[str, Card]) -> None:
    """Alone nobody would look at it, and its weights could be those of a rival, whose family it would name."""
    new = Change("model_cards/schooled.md", added=True)
    with_submission = [new, Change(f"{PLACE}/schooled.json", added=True)]
    assert not check_change(with_submission, cards=cards, author="Somebody")
    assert "not for rival" in str(check_change(with_submission, cards=cards, author="rival")[0])
    assert "of which nothing is submitted" in said(new.name, cards)
    for beside in (f"{PLACE}/schooled/journal.jsonl", f"{PLACE}/schooled", f"{PLACE}/other/schooled.json"):
        changes = [new, Change(beside, added=True)]
        assert "of which nothing is submitted" in str(check_change(changes, cards=cards, author="Somebody"))
    link = [new, Change(f"{PLACE}/schooled.json", added=True, plain=False)]
    told = "\n".join(map(str, check_change(link, cards=cards, author="Somebody")))
    assert "is no plain file" in told
    assert "of which nothing is submitted" in told


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".github/workflows/submission.yml", "is no part of a submission"),
        ("leaderboards/replays/phantoms/pgd-linf/schooled.json", "is no part of a submission"),
        ("leaderboards/site/index.html", "is no part of a submission"),
        (f"{PLACE}/our\nmodel.json", "is no place for a file"),
        (f"{PLACE}/.hidden.json", "is no place for a file"),
        (f"{PLACE}/x\u202ey.json", "is no place for a file"),
        (f"{PLACE}/schooled/x/setup.sh", "is no place for a file"),
        ("leaderboards/submissions/schooled.json", "is no place for a file"),
        (f"{PLACE}/nobody.json", "its model has none"),
        (f"{PLACE}/safemed-r1-tiny.json", "belongs to the maintainers"),
        ("model_cards/x/y.md", "is no place for a card"),
        ("model_cards/setup.py", "is no place for a card"),
        ("model_cards/nobody.md", "is no card whose id is the name of its file"),
    ],
)
def test_files_that_no_submission_has(name: str, reason: str, cards: dict[str, Card]) -> None:
    assert reason in said(name, {**read_cards(), **cards})


def test_a_card_that_exists_is_nobodys_to_change(cards: dict[str, Card]) -> None:
    assert "is a card that exists" in said("model_cards/schooled.md", cards, added=False)
    assert "is a card that exists" in said("model_cards/safemed-r1-tiny.md", read_cards(), added=False)


def test_what_a_change_concerns() -> None:
    names = ["schooled/journal.jsonl", "schooled/witnesses.parquet", "other.json"]
    changes = [Change(f"{PLACE}/{name}", added=True) for name in names]
    changes += [Change("model_cards/schooled.md", added=True), Change(f"{PLACE}/a\nb.json", added=True)]
    assert entries(changes) == ["phantoms/pgd-linf/other.json", "phantoms/pgd-linf/schooled.json"]


def test_a_change_is_read_from_the_repository_whatever_its_names(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(("git", *identity, *words), cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "kept").write_text("1")
    (tmp_path / "moved").write_text("a file that is long enough to count as renamed")
    git("add", ".")
    git("commit", "-qm", "base")
    git("tag", "base")
    (tmp_path / "moved").rename(tmp_path / "new\nname \u202e")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "program").write_text("x")
    (tmp_path / "program").chmod(0o755)
    git("add", "-A")
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},another-repository")
    git("commit", "-qm", "change")
    assert sorted(read_change(tmp_path, "base"), key=lambda change: change.name) == [
        Change("another-repository", added=True, plain=False),
        Change("link", added=True, plain=False),
        Change("moved", added=False),
        Change("new\nname \u202e", added=True),
        Change("program", added=True, plain=False),
    ]
    with pytest.raises(InvalidInputError, match="cannot be compared with nowhere"):
        read_change(tmp_path, "nowhere")


@pytest.mark.parametrize(
    "name",
    [
        "pgd-linf/schooled/more.json",
        "pgd-linf/schooled/page.html",
        "pgd-linf/schooled/x/setup.sh",
        "pgd-linf/README.md",
        "pgd-linf/.schooled.json",
        "pgd-linf/our\nmodel.json",
    ],
)
def test_what_no_manifest_names_is_a_stray(name: str, forgery: Callable[[str], Forgery]) -> None:
    root = forgery("pgd-linf").path.parents[2]
    assert strays(root) == []
    path = root / "phantoms" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    assert strays(root) == [path]


def test_a_link_is_a_stray(forgery: Callable[[str], Forgery], tmp_path: Path) -> None:
    root = forgery("pgd-linf").path.parents[2]
    (root / "phantoms/elsewhere").symlink_to(tmp_path)
    assert strays(root) == [root / "phantoms/elsewhere"]

"""A pull request to the leaderboard: which files it touches, and whether its author may."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.folder import proper
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.models.cards import Card

SUBMISSIONS, CARDS = "leaderboards/submissions/", "model_cards/"

_PLAIN = ("100644", "000000")
"""Modes, as git writes them, of a file that is neither run nor followed, and of one that is gone."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file that a pull request touches.

    Attributes:
        name: relative to the repository.
        added: it did not exist before.
        plain: a file and no program, link or other repository; or removed.
    """

    name: str
    added: bool
    plain: bool = True


def read_change(repository: Path, base: str) -> list[Change]:
    """The files that differ between a commit and what is checked out, renames as an addition and a removal.

    Args:
        repository: its working tree.
        base: a commit of it.

    Raises:
        InvalidInputError: it is no repository, or has no such commit.
    """
    command = ["git", "-C", str(repository), "diff", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"]
    done = subprocess.run([*command, "--raw", f"{base}...HEAD", "--"], capture_output=True, check=False)
    if done.returncode:
        what = f"cannot be compared with {base}: {done.stderr.decode(errors='replace').strip()[:200]}"
        raise InvalidInputError([Problem(str(repository), what, "fetch the whole history of the repository")])
    words = done.stdout.decode(errors="surrogateescape").split("\0")[:-1]
    changes = []
    for told, name in zip(words[::2], words[1::2], strict=True):
        _before, mode, _from, _to, status = told.split(" ")  # ":100644 100644 1f2e3d4 5a6b7c8 M"
        changes.append(Change(name, added=status == "A", plain=mode in _PLAIN))
    return changes


def check_change(changes: Sequence[Change], *, cards: Mapping[str, Card], author: str) -> list[Fault]:
    """What of a pull request its author may not do.

    Args:
        changes: the files that it touches.
        cards: the model registry, the program's own cards before those of the pull request.
        author: GitHub account that opened it.
    """
    faults = []
    files = {f"{SUBMISSIONS}{name}" for name in entries(changes)}
    added = (change.name for change in changes if change.added and change.plain and change.name in files)
    submitted = {name.rpartition("/")[2].removesuffix(".json") for name in added}
    for change in changes:
        if (what := _wrong(change, cards, author, submitted)) is not None:
            faults.append(Fault("change", f"{change.name[:120]!r} {what}"))
    return faults


def entries(changes: Sequence[Change]) -> list[str]:
    """The submission files that a pull request concerns, below the folder of submissions."""
    inside = (
        change.name.removeprefix(SUBMISSIONS) for change in changes if change.name.startswith(SUBMISSIONS)
    )
    return sorted({_entry(name) for name in inside if proper(name) and 3 <= len(name.split("/")) <= 4})


def _entry(name: str) -> str:
    data, threat, model = name.split("/")[:3]
    return f"{data}/{threat}/{model.removesuffix('.json')}.json"


def _wrong(change: Change, cards: Mapping[str, Card], author: str, submitted: Container[str]) -> str | None:
    if not change.plain:
        return "is no plain file: a program, a link or another repository"
    if change.name.startswith(CARDS):
        return _wrong_card(change, cards, author, submitted)
    name = change.name.removeprefix(SUBMISSIONS)
    if name == change.name:
        return "is no part of a submission: leave it to another pull request"
    if not proper(name) or not 3 <= len(name.split("/")) <= 4:
        return "is no place for a file of a submission"
    model = _entry(name).rpartition("/")[2].removesuffix(".json")
    return _not_his(cards.get(model), author, "its model")


def _wrong_card(
    change: Change, cards: Mapping[str, Card], author: str, submitted: Container[str]
) -> str | None:
    name = change.name.removeprefix(CARDS)
    if not proper(name) or "/" in name or not name.endswith(".md"):
        return "is no place for a card"
    card = cards.get(name.removesuffix(".md"))
    if not change.added:
        return "is a card that exists: its submitter asks a maintainer to change it"
    if card is None:
        return "is no card whose id is the name of its file"
    if card.id not in submitted:
        return "is a card of a model of which nothing is submitted: nobody would look at it"
    return _not_his(card, author, "it")


def _not_his(card: Card | None, author: str, what: str) -> str | None:
    if card is None:
        return f"is no file of a model with a card: {what} has none"
    if card.submitter is None:
        return f"belongs to the maintainers: the card {card.id} names no submitter"
    if card.submitter.lower() != author.lower():
        return f"is for {card.submitter} to change, not for {author}"
    return None

"""Evidence that is not beside its submission, or more than belongs there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.leaderboard.forgery import (
    Make,
    reasons,
)

if TYPE_CHECKING:
    from medrobust_bench.models.cards import Card


def test_answers_beside_a_journal_that_is_there(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    (made.folder / "answers.csv").write_text("question,image,right\n")
    made.document["evidence"].append({**made.document["evidence"][0], "name": "answers.csv"})
    assert "answers.csv belongs beside a journal on the hub, and nowhere else" in reasons(made.save(), cards)


def test_a_large_journal_beside(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    file = made.folder / "journal.jsonl"
    first, _, rest = file.read_text().partition("\n")
    file.write_text(first[:-1] + " " * 21_000_000 + "}\n" + rest)
    assert "more than a pull request may carry" in reasons(made.save(), cards)


def test_a_journal_on_the_hub_without_its_answers(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    made.document["evidence"][0] |= {"hub": f"owner/data@{'0' * 40}/journal.jsonl", "size": 30_000_000}
    made.path.write_text(json.dumps(made.document))
    said = reasons(made.path, cards)
    assert "journal.jsonl cannot be had" in said or "answers.csv belongs beside" in said
    assert "its folder holds what no manifest names: 'journal.jsonl'" in said

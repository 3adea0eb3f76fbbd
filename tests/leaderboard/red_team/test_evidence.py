"""Evidence that is not beside its submission, or more than belongs there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

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


def test_a_journal_that_says_little_at_length(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    file = made.folder / "journal.jsonl"
    first, _, rest = file.read_text().partition("\n")
    file.write_text(first[:-1] + " " * 5_000 + "}\n" + rest)
    assert "journal: is padded" in reasons(made.save(), cards)


def test_something_else_in_a_file_of_images(forgery: Make, cards: dict[str, Card]) -> None:
    """Parquet carries metadata that no reader of rows ever sees."""
    made = forgery("pgd-linf")
    file = made.folder / "witnesses.parquet"
    table = pq.read_table(file)
    hidden = table.replace_schema_metadata({"page.html": "<script>" + "x" * 2_000_000})
    pq.write_table(hidden, file, compression="none")
    assert "witnesses: is padded" in reasons(made.save(), cards)


def test_questions_that_failed_beside_answers_to_all(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["failed"] = {"<b>the server</b>": 5}
    assert "data: number of questions that failed is 5, the selection gives 0" in reasons(made.save(), cards)


def test_a_preparation_that_the_images_did_not_need(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["preparation"] = {"certified by the maintainers": 24}
    assert "data: preparation of images is" in reasons(made.save(), cards)
    made.result["data"] |= {"preparation": {}, "groups": 24}
    assert "data: number of patients or studies is 24" in reasons(made.save(), cards)

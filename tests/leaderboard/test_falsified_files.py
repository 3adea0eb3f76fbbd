"""Falsified threats, models, names, audits and files: each rejected for its reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medrobust_bench.evaluation.witness import SCHEMA
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.results.schema import Smoothing
from tests.leaderboard.forgery import reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.cards import Card
    from tests.leaderboard.forgery import Forgery

# Falsified threat, model, names


def test_a_weaker_threat_under_the_official_name(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["threat"] |= {"eps": "1/255"}
    assert "threat: eps is 1/255, pgd-linf means 8/255" in reasons(made.save(), cards)


def test_another_models_weights(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["model"]["weights_sha256"] = cards["other"].weights_sha256
    said = reasons(made.save(), cards)
    assert "are not those of its card" in said
    assert "has the weights of other" in said


def test_a_smoothed_model_under_the_plain_models_name(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["model"]["smoothing"] = {"sigma": 0.25, "n": 100, "alpha": 0.001}
    assert "is not smoothed as its card says" in reasons(made.save(), cards)


def test_the_smoothed_form_of_the_same_weights_is_another_model(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    smoothing = Smoothing(sigma=0.25, n=100, alpha=0.001)
    made = forgery("pgd-linf")
    weights = made.result["model"]["weights_sha256"]
    twin = cards["schooled"].model_copy(update={"id": "twin", "weights_sha256": weights})
    smoothed = twin.model_copy(update={"smoothing": smoothing})
    assert verify(made.save(), cards={**cards, "twin": smoothed}).accepted
    assert "has the weights of twin" in reasons(made.path, {**cards, "twin": twin})


def test_a_model_that_nobody_knows(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    assert "schooled has no card" in reasons(forgery("pgd-linf").save(), {"other": cards["other"]})


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "a|b",
        "../../etc/passwd",
        "a/../../b",
        "x\u202ey",
        "",
    ],
)
def test_hostile_names(name: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["model"]["id"] = name
    assert "holds characters that names may not hold" in reasons(made.save(), cards)


@pytest.mark.parametrize(("record", "field"), [("data", "name"), ("threat", "name")])
def test_hostile_names_of_data_and_threats(
    record: str, field: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result[record][field] = "../<img src=x>"
    assert "holds characters that names may not hold" in reasons(made.save(), cards)


def test_a_date_yet_to_come(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.document["submitted"] = (datetime.now(UTC).date() + timedelta(days=2)).isoformat()
    assert "which is yet to come" in reasons(made.save(), cards)


def test_evidence_outside_its_data_set(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    made.document["evidence"][0]["hub"] = f"owner/data@{'0' * 40}/../../secret"
    made.path.write_text(json.dumps(made.document))
    assert "leads out of its repository" in reasons(made.path, cards)


def test_a_file_at_another_models_place(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    place = made.path.with_name("famous.json")
    made.path.rename(place)
    made.folder.rename(place.with_suffix(""))
    assert "the file belongs at phantoms/pgd-linf/schooled.json" in reasons(place, cards)


# Falsified audits


def test_a_finding_left_out(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.document["clean_audit"] = [
        finding for finding in made.document["clean_audit"] if finding["check"] != "image dependence"
    ]
    assert "clean: image dependence is left out" in reasons(made.save(), cards)


def test_a_failed_check_called_passed(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    for finding in made.document["clean_audit"]:
        finding["verdict"] = "pass"
    assert "its journal gives fail" in reasons(made.save(), cards)


# Falsified files


def test_evidence_outside_its_folder(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    document = json.loads(made.path.read_text())
    document["evidence"][0]["name"] = "../../../../etc/passwd"
    made.path.write_text(json.dumps(document))
    assert "evidence.0.name" in reasons(made.path, cards)


def test_evidence_that_is_a_link(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    target = made.folder.parent / "elsewhere"
    (made.folder / "journal.jsonl").rename(target)
    (made.folder / "journal.jsonl").symlink_to(target)
    assert "journal.jsonl is a link" in reasons(made.path, cards)


def test_evidence_changed_after_the_manifest(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    content = (made.folder / "journal.jsonl").read_bytes()
    (made.folder / "journal.jsonl").write_bytes(content.replace(b"true", b"true ", 1)[:-1] + b"\n")
    assert "journal.jsonl" in reasons(made.path, cards)


def test_a_truncated_journal(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    file = made.folder / "journal.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    assert "its last line is cut off" in reasons(made.save(), cards)


def test_a_truncated_submission(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.path.write_bytes(made.path.read_bytes()[:500])
    assert "file: is not valid JSON" in reasons(made.path, cards)


def test_a_huge_submission(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    with made.path.open("ab") as file:
        file.truncate(6_000_000)
    assert "at most 5000000 are allowed" in reasons(made.path, cards)


def test_a_deeply_nested_submission(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.path.write_text("[" * 200_000)
    assert "is not valid JSON" in reasons(made.path, cards)


def test_a_witness_file_that_unpacks_to_gigabytes(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    rows = pq.read_table(made.folder / "witnesses.parquet").to_pylist()
    rows[0]["image"] = b"\0" * 20_000_000
    pq.write_table(
        pa.Table.from_pylist(rows, schema=SCHEMA), made.folder / "witnesses.parquet", compression="zstd"
    )
    assert "unpacks to far more than it holds" in reasons(made.save(), cards)


@pytest.mark.parametrize(("where", "key"), [("document", "entry_version"), ("result", "schema_version")])
def test_a_stale_schema(
    where: str, key: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    getattr(made, where)[key] = "0.9"
    assert "run again with it" in reasons(made.save(), cards)


def test_an_unknown_field(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["metrics"]["better_accuracy"] = 1.0
    assert "better_accuracy: Extra inputs" in reasons(made.save(), cards)


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_numbers_that_are_none(value: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    text = made.path.read_text()
    made.path.write_text(text.replace('"seconds":', f'"seconds": {value}, "seconds":', 1))
    assert "is not valid JSON" in reasons(made.path, cards)


def test_a_key_given_twice(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.path.write_text(made.path.read_text().replace('"seed":', '"seed": 0, "seed":', 1))
    assert "a key is given twice" in reasons(made.path, cards)

"""Falsified threats, models, names, audits and files: each rejected for its reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.records import Smoothing
from medrobust_bench.records.witness import SCHEMA
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


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("answer_mode", "reasoning", "answer mode is reasoning, its card says letter"),
        ("dtype", "bfloat16", "dtype is bfloat16, its card says float32"),
        ("dtype", '=HYPERLINK("http://example.org")', "result.model.dtype: String should match pattern"),
        ("answer_mode", "@SUM(1)", "result.model.answer_mode: Input should be"),
        ("weights_sha256", "@SUM(1)", "result.model.weights_sha256: String should match pattern"),
        ("parameters", -5, "result.model.parameters: Input should be greater"),
    ],
)
def test_a_model_described_otherwise(
    field: str, value: object, reason: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["model"][field] = value
    assert reason in reasons(made.save(), cards)


def test_another_revision_than_the_cards(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    pinned = cards["schooled"].model_copy(update={"revision": "v1"})
    said = reasons(forgery("pgd-linf").save(), {**cards, "schooled": pinned})
    assert "revision is None, its card says v1" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("PGD-linf", "would be taken for pgd-linf"),
        ("clean", "is not the name of an attack"),
        ("worst-case", "is not the name of an attack"),
        ("pgd-linf.", "holds characters that names may not hold"),
        ("pgd-l\u0456nf", "holds characters that names may not hold"),
        ("x.json", "holds characters that names may not hold"),
        ("pgd-linf:/etc/x.yaml", "holds characters that names may not hold"),
    ],
)
def test_a_name_that_is_mistaken_for_another(
    name: str, reason: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["threat"] |= {"name": name, "steps": 1}
    assert reason in reasons(made.save(), cards)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"eps": "1e20000000"}, "is not a number such as 8/255"),
        ({"eps": "1e400"}, "is not a number such as 8/255"),
        ({"kind": "patch", "places": 3_000_000, "area": "0.1"}, "less than or equal to 10000"),
    ],
)
def test_a_threat_that_would_keep_the_verifier_busy(
    changed: dict[str, object], reason: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["threat"] |= changed
    if changed.get("kind") == "patch":
        for field in ("norm", "eps", "loss", "focus"):
            del made.result["threat"][field]
    assert reason in reasons(made.save(), cards)


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


def test_a_date_before_there_was_a_leaderboard(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.document["submitted"] = "1066-10-14"
    assert "no submissions before" in reasons(made.save(), cards)


def test_evidence_outside_its_data_set(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    made.document["evidence"][1]["hub"] = f"owner/data@{'0' * 40}/../../secret"
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


@pytest.mark.parametrize("audit", ["clean_audit", "result"])
def test_an_invented_finding(audit: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    findings = made.document["clean_audit"] if audit == "clean_audit" else made.result["audit"]
    findings.append({"check": "expert\nreview", "value": 1.0, "verdict": "pass", "meaning": "certified"})
    said = reasons(made.save(), cards)
    assert "expert\N{REPLACEMENT CHARACTER}review is nothing that its journal gives" in said


@pytest.mark.parametrize(("field", "value"), [("value", "100 %"), ("source", "somebody")])
def test_a_finding_changed_where_nobody_looks(
    field: str, value: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.document["clean_audit"][0][field] = value
    assert "clean: clean answers repeat is" in reasons(made.save(), cards)


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


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"answer":', b'"answer":0,"answer":', "a key is given twice"),
        (b'"seconds":', b'"seconds":NaN,"second":', "NaN is no number"),
        (b'"attacked":true', b'"attacked":"yes"', "valid boolean"),
        (b'"forward_passes":', b'"forward_passes":-', "greater than or equal to 0"),
    ],
)
def test_journal_lines_that_readers_would_read_differently(
    old: bytes, new: bytes, reason: str, forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    file = made.folder / "journal.jsonl"
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    assert reason in reasons(made.save(), cards)


def test_a_small_journal_on_the_hub(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.save()
    made.document["evidence"][0]["hub"] = f"owner/data@{'0' * 40}/journal.jsonl"
    made.path.write_text(json.dumps(made.document))
    assert "is on the hub, though small" in reasons(made.path, cards)


def test_a_folder_that_is_a_link(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    moved = made.path.parent.rename(made.path.parent.with_name("elsewhere"))
    made.path.parent.symlink_to(moved)
    assert "file: is a link, or stands behind one" in reasons(made.path, cards)


def test_a_result_that_is_a_list(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.document["result"] = [1]
    assert "schema: has versions" in reasons(made.save(), cards)


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
    file = made.folder / "witnesses.parquet"
    rows = pq.read_table(file).to_pylist()
    twenty = [{**rows[0], "image": b"\0" * 900_000}] * 20
    pq.write_table(pa.Table.from_pylist(twenty, schema=SCHEMA), file, compression="none")
    assert file.stat().st_size < 2_000_000, "written once, referred to by every row"
    assert "unpacks to far more than it holds" in reasons(made.save(), cards)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file, compression="zstd")
    assert "is compressed" in reasons(made.save(), cards)
    pq.write_table(SCHEMA.empty_table().from_pylist([{}] * 1000, schema=SCHEMA), file, compression="none")
    assert "1000 rows, for 48 outcomes" in reasons(made.save(), cards)


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

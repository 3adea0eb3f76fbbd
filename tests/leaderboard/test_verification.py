"""Honest submissions pass; every falsification is rejected for its reason."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medrobust_bench.data.image import from_png, to_png
from medrobust_bench.evaluation.witness import SCHEMA
from medrobust_bench.leaderboard.replay import replay_with
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.results.intervals import wilson
from tests.runs import SchooledAdapter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.models.cards import Card


class Forgery:
    """A copy of an honest submission that can be falsified, with its manifest made to fit again."""

    def __init__(self, honest: Path, root: Path, threat: str, model: str = "schooled") -> None:
        shutil.copytree(honest, root / "submissions")
        self.path = root / "submissions" / "phantoms" / threat / f"{model}.json"
        self.folder = self.path.with_suffix("")
        self.document: dict[str, Any] = json.loads(self.path.read_text())

    @property
    def result(self) -> dict[str, Any]:
        return self.document["result"]  # type: ignore[no-any-return]

    def save(self) -> Path:
        """Write the document, sizes and digests of the evidence brought up to date."""
        for file in self.document["evidence"]:
            content = (self.folder / file["name"]).read_bytes()
            file |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.path.write_text(json.dumps(self.document))
        return self.path

    def journal(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Rewrite the journal's lines."""
        file = self.folder / "journal.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))

    def witness(self, change: Callable[[dict[str, Any]], dict[str, Any]], *, told: bool = True) -> None:
        """Rewrite the first witness; where `told`, its own digest and the journal's follow."""
        file = self.folder / "witnesses.parquet"
        rows = pq.read_table(file).to_pylist()
        old, new = rows[0]["sha256"], change(dict(rows[0]))
        if told:
            new["sha256"] = hashlib.sha256(new["image"]).hexdigest()
            self.journal(
                lambda lines: [
                    {**line, "witness_sha256": new["sha256"]} if line["witness_sha256"] == old else line
                    for line in lines
                ]
            )
        pq.write_table(pa.Table.from_pylist([new, *rows[1:]], schema=SCHEMA), file)


@pytest.fixture
def forgery(honest: Path, tmp_path: Path) -> Callable[[str], Forgery]:
    return lambda threat: Forgery(honest, tmp_path, threat)


def reasons(path: Path, cards: dict[str, Card]) -> str:
    verdict = verify(path, cards=cards)
    assert not verdict.accepted
    assert not verdict.ranked
    return "\n".join(map(str, verdict.faults))


def test_honest_submissions_are_accepted(honest: Path, cards: dict[str, Card]) -> None:
    paths = sorted(honest.rglob("*.json"))
    assert len(paths) == 6
    for path in paths:
        verdict = verify(path, cards=cards)
        assert verdict.faults == ()
        assert verdict.unranked[0] == "not an official sample: 100, 300, 1000 questions or all"


def test_a_toy_that_does_not_look_at_the_image_is_not_ranked(honest: Path, cards: dict[str, Card]) -> None:
    verdict = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards)
    assert verdict.accepted
    assert not verdict.ranked
    assert any("its audit failed: " in reason and "image dependence" in reason for reason in verdict.unranked)


def test_no_more_than_the_evidence_is_written_once(forgery: Callable[[str], Forgery]) -> None:
    made = forgery("pgd-linf")
    assert {file.name for file in made.folder.iterdir()} == {"journal.jsonl", "witnesses.parquet"}
    before = made.path.read_bytes()
    assert json.loads(made.save().read_text()) == json.loads(before)


# Falsified numbers


def test_an_edited_score(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    metrics = made.result["metrics"]
    right = round(metrics["robust_accuracy"]["value"] * 24)
    metrics["robust_accuracy"] = wilson(right + 1, 24).model_dump()
    assert f"metrics.robust_accuracy.value is {(right + 1) / 24}" in reasons(made.save(), cards)


def test_an_edited_interval(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["metrics"]["robust_accuracy"]["low"] += 0.01
    assert "metrics.robust_accuracy.low is" in reasons(made.save(), cards)


def test_an_edited_modality(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["metrics"]["worst_modality"] = (
        "CT" if made.result["metrics"]["worst_modality"] != "CT" else "MRI"
    )
    assert "metrics.worst_modality is" in reasons(made.save(), cards)


def test_an_edited_cost(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["cost"]["backward_passes"] += 1000
    assert "cost.backward_passes is" in reasons(made.save(), cards)


def test_broken_answers_called_right(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "correct": True} for line in lines])
    assert "verdict contradicts the choice" in reasons(made.save(), cards)


def test_broken_answers_rewritten(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def rewrite(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**line, "correct": True, "choice": line["answer"], "witness_sha256": None}
            if line["threat"] == "pgd-linf" and line["attacked"]
            else line
            for line in lines
        ]

    made.journal(rewrite)
    said = reasons(made.save(), cards)
    assert "witnesses: for answers that were not broken" in said
    assert "metrics.robust_accuracy.value" in said


def test_the_answer_key_changed(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "answer": line["choice"], "correct": True} for line in lines])
    assert "answer is not the published one" in reasons(made.save(), cards)


def test_right_answers_left_alone(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(
        lambda lines: [
            {**line, "attacked": False} if line["threat"] == "pgd-linf" and line["correct"] else line
            for line in lines
        ]
    )
    assert "not attacked although right" in reasons(made.save(), cards)


# Falsified questions


def test_dropped_hard_questions(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [line for line in lines if line["threat"] == "clean" or line["correct"]])
    assert "questions: dropped under the threat" in reasons(made.save(), cards)


def test_dropped_questions_and_a_smaller_n(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["n"] = 20
    assert "data: number of questions is 20, the selection gives 24" in reasons(made.save(), cards)


def test_repeated_easy_questions(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [*lines, *(line for line in lines if line["correct"])])
    assert "questions: repeated under the threat" in reasons(made.save(), cards)


def test_invented_questions(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [*lines, {**lines[-1], "question": "phantom/test/ct/99999"}])
    assert "questions: not in the data set, under the threat: phantom/test/ct/99999" in reasons(
        made.save(), cards
    )


def test_a_wrong_split_digest(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["digest"] = "0" * 64
    assert "data: digest is 0000" in reasons(made.save(), cards)


def test_other_images(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "image_sha256": "0" * 64} for line in lines])
    assert "image is not the published one" in reasons(made.save(), cards)


def test_a_lucky_seed_passed_off_as_the_official_one(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("certified-l2-quick")
    made.journal(
        lambda lines: [
            {**line, "certificate": {**line["certificate"], "seed": 7}} if line["certificate"] else line
            for line in lines
        ]
    )
    assert "certificates, seed" in reasons(made.save(), cards)


# Falsified images


def test_epsilon_exceeded_by_one_level(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def push(row: dict[str, Any]) -> dict[str, Any]:
        from medrobust_bench.data.image import canonical
        from medrobust_bench.data.source import open_data

        (question,) = [q for q in open_data("phantoms").questions if q.id == row["question"]]
        clean, image = canonical(question.image).astype(int), from_png(row["image"]).astype(int)
        place = np.argwhere((np.abs(image - clean) == 8) & (image > 0) & (image < 255))[0]
        image[tuple(place)] += 1 if image[tuple(place)] > clean[tuple(place)] else -1
        return {**row, "image": to_png(image.astype(np.uint8))}

    made.witness(push)
    assert "changes a value by 9 levels, 8 allowed" in reasons(made.save(), cards)


def test_a_patch_outside_its_place(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("patch")

    def scribble(row: dict[str, Any]) -> dict[str, Any]:
        image = from_png(row["image"])
        image[0, :], image[-1, :] = 255 - image[0, :], 255 - image[-1, :]
        return {**row, "image": to_png(image)}

    made.witness(scribble)
    assert "outside" in reasons(made.save(), cards)


def test_a_swapped_image(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    rows = pq.read_table(made.folder / "witnesses.parquet").to_pylist()
    made.witness(lambda row: {**row, "image": rows[1]["image"]}, told=False)
    assert "the image is not the one that was judged" in reasons(made.save(), cards)
    made.witness(lambda row: {**row, "image": rows[1]["image"]})
    assert "levels, 8 allowed" in reasons(made.save(), cards)


def test_a_float_only_artefact(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def floating(row: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        levels = from_png(row["image"])[..., 0].astype(np.float32) / 255
        Image.fromarray(levels, mode="F").save(buffer, format="TIFF")
        return {**row, "image": buffer.getvalue()}

    made.witness(floating)
    assert "the image is no 8-bit RGB PNG but TIFF, F" in reasons(made.save(), cards)


def test_an_image_of_another_size(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.witness(lambda row: {**row, "image": to_png(from_png(row["image"])[:32])})
    assert "the image has 64 × 32 pixels, the clean one 64 × 64" in reasons(made.save(), cards)


def test_no_image_at_all(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.witness(lambda row: {**row, "image": b"\x89PNG nothing"})
    assert "the image cannot be decoded" in reasons(made.save(), cards)


def test_missing_witnesses(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    table = pq.read_table(made.folder / "witnesses.parquet")
    pq.write_table(table.slice(1), made.folder / "witnesses.parquet")
    assert "witnesses: none for phantom/" in reasons(made.save(), cards)


def test_a_witness_file_left_out(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.document["evidence"] = made.document["evidence"][:1]
    assert "no image is there to show it" in reasons(made.save(), cards)


# Falsified certificates


def certificates(
    made: Forgery, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda lines: [
        {**line, "certificate": change(line["certificate"])} if line["certificate"] else line
        for line in lines
    ]


def test_an_impossible_radius(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")
    made.journal(certificates(made, lambda one: {**one, "radius": 2.5}))
    assert "certificates, radius: the radius is not what the counts give" in reasons(made.save(), cards)


def test_counts_that_do_not_add_up(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")

    def more(one: dict[str, Any]) -> dict[str, Any]:
        *looks, last = one["looks"]
        return {**one, "looks": [*looks, {**last, "counts": [count + 1 for count in last["counts"]]}]}

    made.journal(certificates(made, more))
    assert "certificates, counts" in reasons(made.save(), cards)


def test_certificates_left_out(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")
    made.journal(lambda lines: [{**line, "certificate": None} for line in lines])
    assert "questions have none" in reasons(made.save(), cards)


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


# What is not a falsification


def test_other_data_must_be_named(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["name"] = "omnimedvqa"
    with pytest.raises(InvalidInputError, match="say where it is: --data omnimedvqa=PATH"):
        verify(made.save(), cards=cards)


def test_replay_agrees_with_the_model_and_catches_another(honest: Path, cards: dict[str, Card]) -> None:
    verdict = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards)
    agreed = replay_with(SchooledAdapter(lean=0.5), verdict, count=10_000, seed=1)
    assert agreed.disagreements == ()
    assert verdict.proof is not None
    assert agreed.asked == 24 + len(verdict.proof.witnesses)
    assert agreed.bound == pytest.approx(1 - 0.05 ** (1 / agreed.asked))
    other = replay_with(SchooledAdapter(lean=0.3), verdict, count=10_000, seed=1)
    assert other.disagreements[0].startswith("weights are")
    assert other.bound == 1.0


def test_three_hundred_agreeing_answers_bound_disagreement_below_one_per_cent() -> None:
    from medrobust_bench.leaderboard.replay import Replay

    assert Replay(300, ()).bound < 0.01
    assert Replay(298, ()).bound < 0.0101

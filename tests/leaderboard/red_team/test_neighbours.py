"""Submissions that contradict the model's others, or hold what a rival's holds."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.build import render
from medrobust_bench.leaderboard.checks.shared_draws import inside_certified
from medrobust_bench.leaderboard.folder import strays
from medrobust_bench.leaderboard.neighbour import neighbours
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.models.cards import read_cards
from medrobust_bench.problems import InvalidInputError
from tests.leaderboard.forgery import (
    SHIPPED,
    Forgery,
    Line,
    Make,
    every,
    losses,
    reasons,
    rewrite,
    standing,
    under_threat,
)

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.cards import Card


def test_clean_answers_that_differ_between_submissions(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    rewrite(
        made,
        "schooled",
        "patch",
        every(
            lambda o: o["blind_choices"] and o["blind_choices"].update(blank=o["answer"], noise=o["answer"])
        ),
    )
    assert "neighbours: clean or blind answers are not those of phantoms/patch/schooled.json" in reasons(
        made.path, cards
    )


def test_another_model_under_the_same_name(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    other = made.path.parents[1] / "patch/schooled.json"
    document = json.loads(other.read_text())
    document["result"]["model"]["weights_sha256"] = "3" * 64
    other.write_text(json.dumps(document))
    assert "reports another model under the same name" in reasons(made.path, cards)


@pytest.mark.parametrize(("field", "value"), [("parameters", 7), ("draws", 20), ("trust_remote_code", True)])
def test_a_model_that_is_told_of_otherwise(
    field: str, value: object, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["model"][field] = value
    assert "neighbours: phantoms/patch/schooled.json says otherwise: " in reasons(made.save(), cards)


def test_a_journal_copied_from_a_rival(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    theirs = made.path.with_name("other")
    text = (made.folder / "journal.jsonl").read_text().replace('"schooled"', '"other"')
    (theirs / "journal.jsonl").write_text(text)
    document = json.loads(theirs.with_suffix(".json").read_text())
    for file in document["evidence"]:
        content = (theirs / file["name"]).read_bytes()
        file |= {"size": len(content), "sha256": sha256(content).hexdigest()}
    theirs.with_suffix(".json").write_text(json.dumps(document))
    assert "runs of phantoms/pgd-linf/other.json, loss for loss" in reasons(made.path, cards)


def test_counts_copied_from_a_rival(tmp_path: Path) -> None:
    made = Forgery(SHIPPED, tmp_path, "certified-l2-quick", "tiny-noise-reasoning")
    lines = [json.loads(line) for line in (made.folder / "journal.jsonl").read_text().splitlines()]
    certificates = {line["question"]: line["certificate"] for line in lines if line["certificate"]}
    rewrite(
        made,
        "tiny-sft-letter",
        "certified-l2-quick",
        every(lambda o: o["certificate"] and o.update(certificate=certificates[o["question"]])),
    )
    said = reasons(made.path, read_cards())
    assert "the counts of phantoms/certified-l2-quick/tiny-sft-letter.json, draw for draw" in said


def test_an_ensemble_that_stands_where_its_first_member_breaks(tmp_path: Path) -> None:
    """A rival's row is not lifted either: both submissions of the model say so."""
    made = Forgery(SHIPPED, tmp_path, "pgd-linf", "tiny-sft-letter")

    def stand(lines: list[Line]) -> list[Line]:
        names = {line["question"] for line in lines if line["attacked"]}
        for line in lines:
            if line["question"] in names and line["threat"] != "clean":
                line |= {"correct": True, "choice": line["answer"], "witness_sha256": None}
        return lines

    rewrite(made, "tiny-sft-letter", "auto-linf", stand)
    assert "stands in phantoms/auto-linf/tiny-sft-letter.json, whose attack this one is part of" in reasons(
        made.path, read_cards()
    )


@pytest.mark.parametrize("members", ["", "first only"])
def test_an_ensemble_of_which_little_was_run(members: str, tmp_path: Path) -> None:
    made = Forgery(SHIPPED, tmp_path, "auto-linf", "safemed-r1-tiny-instruct")
    made.journal(standing(lambda o: o.update(attempts=o["attempts"][:1] if members else [])))
    reason = "before the attack had run in full" if members else "runs that the specification does not plan"
    assert reason in reasons(made.save(), read_cards())


def test_members_of_an_ensemble_in_another_order(tmp_path: Path) -> None:
    made = Forgery(SHIPPED, tmp_path, "auto-linf", "safemed-r1-tiny-instruct")
    made.journal(standing(lambda o: o["attempts"].reverse()))
    assert "runs that the specification does not plan" in reasons(made.save(), read_cards())


def test_a_finding_of_ones_own_about_rivals(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    finding = {
        "check": "gradient-free stays behind",
        "value": 1e300,
        "verdict": "pass",
        "meaning": "Confirmed by the maintainers: strongest defence ever measured.",
        "source": "Croce and Hein 2020, arXiv:2003.01690, and the flags of their AutoAttack",
    }
    made.result["audit"].append(finding)
    assert "gradient-free stays behind is nothing that its journal gives" in reasons(made.save(), cards)


def test_a_table_that_two_threats_would_share(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    for threat, steps in (("my:attack", 7), ("my-attack", 8)):
        folder = made.path.parents[1] / "my-attack"
        folder.mkdir(exist_ok=True)
        document = json.loads(made.path.read_text())
        document["result"]["threat"] |= {"name": threat, "steps": steps}
        place = folder / ("schooled.json" if steps == 7 else "other.json")
        document["result"]["model"]["id"] = place.stem
        lines = (made.folder / "journal.jsonl").read_text().replace('"pgd-linf"', json.dumps(threat))
        evidence = place.with_suffix("")
        evidence.mkdir()
        (evidence / "journal.jsonl").write_text(lines.replace('"schooled"', json.dumps(place.stem)))
        document["evidence"] = [document["evidence"][0]]
        content = (evidence / "journal.jsonl").read_bytes()
        document["evidence"][0] |= {"size": len(content), "sha256": sha256(content).hexdigest()}
        place.write_text(json.dumps(document))
    names = {one.entry.result.threat.name for one in neighbours(made.path)}
    assert {"my:attack", "my-attack"} <= names
    with pytest.raises(InvalidInputError, match="would both be written to"):
        render(read_results(made.path.parents[2], cards={}), links={}, cards={})


def test_certificates_of_one_model_that_count_other_draws(tmp_path: Path) -> None:
    """A second certification with the same noise, whose draws are shorter, holds the first counts of the longer one."""
    made = Forgery(SHIPPED, tmp_path, "certified-l2-quick", "tiny-sft-letter")
    other = made.path.parents[1] / "mine" / "tiny-sft-letter.json"
    document = json.loads(made.path.read_text())
    document["result"]["threat"] |= {"name": "mine", "radii": ["1/8"]}
    other.parent.mkdir()
    other.write_text(json.dumps(document))
    evidence = other.with_suffix("")
    evidence.mkdir()
    lines = (made.folder / "journal.jsonl").read_text().replace('"certified-l2-quick"', '"mine"')
    (evidence / "journal.jsonl").write_text(lines)
    shared = "its draws are not those of phantoms/mine/tiny-sft-letter.json"
    rewrite(made, "tiny-sft-letter", "mine", every(lambda line: None))
    honest = verify(made.path, cards=read_cards())
    assert not any(shared in str(fault) for fault in honest.faults)

    def luckier(line: Line) -> None:
        for look in (line["certificate"] or {"looks": []})["looks"]:
            look["counts"] = look["counts"][::-1]

    rewrite(made, "tiny-sft-letter", "mine", every(luckier))
    made.path.touch()
    assert shared in reasons(made.path, read_cards())


def test_a_smoothed_model_broken_inside_what_is_certified_for_it(
    forgery: Make, cards: dict[str, Card], honest: Path
) -> None:
    """The attacked twin of the certified toy: smoothed with the noise of the certification, and broken nearby."""
    made = forgery("certified-l2-quick")
    other = made.path.parents[1] / "pgd-linf" / "schooled.json"
    document = json.loads(other.read_text())
    document["result"]["model"]["smoothing"] = {"sigma": 0.25, "n": 100, "alpha": 0.05, "base": "generate"}
    other.write_text(json.dumps(document))
    made.journal(every(lambda line: line["certificate"] and line["certificate"].update(radius=99.0)))
    case = verify(made.save(), cards=cards).case
    assert case is not None
    (twin,) = (one for one in neighbours(made.path) if one.name.endswith("pgd-linf/schooled.json"))
    (found,) = inside_certified(case, twin)
    assert "certified up to a distance within which phantoms/pgd-linf/schooled.json" in found.what
    untouched = verify(honest / "phantoms/certified-l2-quick/schooled.json", cards=cards).case
    assert untouched is not None
    assert not inside_certified(untouched, twin), (
        "eight levels on every pixel are farther than any radius here"
    )


def test_a_neighbour_that_is_too_large_to_be_read_stops_nobody(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    huge = made.path.with_name("huge.json")
    huge.write_text(" " * 6_000_000 + "{}")
    deep = made.path.with_name("deep.json")
    deep.write_text("[" * 100_000)
    assert verify(made.path, cards=cards).accepted
    assert {path.name for path in strays(made.path.parents[2])} == set()


@pytest.mark.parametrize(("kind", "field"), [("pgd-linf", "restarts"), ("patch", "restarts")])
def test_an_attack_that_plans_without_end(
    kind: str, field: str, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery(kind)
    made.result["threat"] |= {"name": "mine", field: 10**9}
    assert "Input should be less than or equal to 1000" in reasons(made.save(), cards)


@pytest.mark.parametrize(("change", "copied"), [(1.01, True), (1.2, False)], ids=["hardly", "much"])
def test_weights_that_were_hardly_changed(
    change: float, copied: bool, forgery: Make, cards: dict[str, Card]
) -> None:
    """A rival's weights with a little noise: another digest, and losses that begin where the rival's begin."""
    made = forgery("pgd-linf")
    text = (made.folder / "journal.jsonl").read_text().replace('"schooled"', '"other"')
    theirs = made.path.with_name("other")
    (theirs / "journal.jsonl").write_text(text)
    rewrite(made, "other", "pgd-linf", under_threat(losses(lambda values: [change * one for one in values])))
    verdict = verify(made.path, cards=cards)
    told = "with the losses of phantoms/pgd-linf/other.json, to 3%: its weights, hardly changed"
    assert any(told in str(fault) for fault in verdict.faults) is copied

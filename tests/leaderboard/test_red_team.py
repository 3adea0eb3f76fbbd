"""Forgeries that were tried on a leaderboard: each rejected, and for its own reason.

What a change of files can forge is in `test_change.py`, what ranks can be moved by in `test_ranking.py`, what only the
model can show in `test_verification.py`; falsified numbers, questions and images in `test_falsified_*.py`.
"""

from __future__ import annotations

import json
import struct
import zlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medrobust_bench.data.image import canonical, from_png, to_png
from medrobust_bench.data.source import open_data
from medrobust_bench.leaderboard.build import render
from medrobust_bench.leaderboard.neighbour import neighbours
from medrobust_bench.leaderboard.neutral import cell, html, is_link, plain
from medrobust_bench.leaderboard.registry import read_registry
from medrobust_bench.leaderboard.standing import unranked
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.models.cards import read_card, read_cards
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Smoothing
from tests.leaderboard.forgery import Forgery, reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.cards import Card

    Line = dict[str, Any]
    Make = Callable[[str], Forgery]


SHIPPED = Path(__file__).parents[2] / "leaderboards" / "submissions"


def under_threat(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    """Change every attacked line, or every certificate's."""

    def rewrite(lines: list[Line]) -> list[Line]:
        for line in lines:
            if line["attacked"] or line["certificate"]:
                change(line)
        return lines

    return rewrite


def standing(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    return under_threat(lambda line: change(line) if line["correct"] else None)


def broken(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    return under_threat(lambda line: change(line) if not line["correct"] else None)


def every(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    def rewrite(lines: list[Line]) -> list[Line]:
        for line in lines:
            change(line)
        return lines

    return rewrite


def losses(change: Callable[[list[float]], list[float | None]]) -> Callable[[Line], None]:
    """Change the losses of every run."""

    def rewrite(line: Line) -> None:
        for attempt in line["attempts"]:
            attempt["losses"] = change(attempt["losses"])

    return rewrite


# A board of one's own: numbers written otherwise


@pytest.mark.parametrize(
    ("threat", "field", "value"),
    [
        ("pgd-linf", "steps", 20.0),
        ("pgd-linf", "restarts", True),
        ("pgd-linf", "eps", "16/510"),
        ("pgd-linf", "step_size", " 2/255"),
        ("certified-l2-quick", "n", 128.0),
        ("certified-l2-quick", "n0", False),
        ("certified-l2-quick", "sigma", 0.25),
    ],
)
def test_a_threat_written_otherwise(
    threat: str, field: str, value: object, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery(threat)
    made.result["threat"][field] = value
    said = reasons(made.save(), cards)
    assert f"form: result.threat.{field} is written {value!r}" in said or "valid boolean" in said


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("selection", "seed"), 0.0),
        (("selection", "limit"), "24"),
        (("result", "seed"), False),
        (("result", "metrics", "nondeterminism"), 0),
        (("submitted",), "2026-01-01T00:00:00"),
    ],
)
def test_any_value_written_otherwise(
    path: tuple[str, ...], value: object, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    place = made.document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert f"form: {'.'.join(path)} is written" in reasons(made.save(), cards)


# Nothing need have been run

LAZY: dict[str, tuple[str, Callable[[list[Line]], list[Line]], str]] = {
    "no attempt at all": (
        "pgd-linf",
        standing(lambda o: o.update(attempts=[], backward_passes=0, forward_passes=1)),
        "attack: runs that the specification does not plan",
    ),
    "no attempt on a patch": (
        "patch",
        standing(lambda o: o.update(attempts=[])),
        "attack: runs that the specification does not plan",
    ),
    "one image instead of all steps": (
        "pgd-linf",
        standing(losses(lambda values: values[:1])),
        "attack: left standing before the attack had run in full",
    ),
    "one image of the first of several runs": (
        "patch",
        standing(lambda o: o["attempts"][0].update(losses=o["attempts"][0]["losses"][:1])),
        "attack: ",
    ),
    "more images than steps": (
        "pgd-linf",
        standing(lambda o: [losses(lambda values: [*values, 0.5])(o), o.update(forward_passes=99)]),
        "attack: runs that the specification does not plan",
    ),
    "no gradients": (
        "pgd-linf",
        standing(lambda o: o.update(backward_passes=0)),
        "attack: fewer gradients than its runs need",
    ),
    "another objective": (
        "pgd-linf",
        standing(lambda o: o["attempts"][0].update(objective="margin of nothing")),
        "attack: runs that the specification does not plan",
    ),
    "runs that were not asked for": (
        "pgd-linf",
        standing(lambda o: [o["attempts"].append(o["attempts"][0]), o.update(forward_passes=99)]),
        "attack: runs that the specification does not plan",
    ),
    "a broken run of what stands": (
        "pgd-linf",
        standing(lambda o: o["attempts"][-1].update(broken=True)),
        "attack: broken runs of standing questions",
    ),
    "no broken run of what is broken": (
        "pgd-linf",
        broken(lambda o: [attempt.update(broken=False) for attempt in o["attempts"]]),
        "attack: broken runs of standing questions, or none of a broken one",
    ),
    "losses that are mostly missing": (
        "pgd-linf",
        standing(losses(lambda values: [0.1, *[None] * (len(values) - 1)])),
        "losses: more than a tenth of a run was not finite",
    ),
    "a cross-entropy below zero": (
        "pgd-linf",
        standing(losses(lambda values: [-1e300, *values[1:]])),
        "losses: a cross-entropy below zero",
    ),
    "a standing question that another option has left": (
        "pgd-linf",
        standing(losses(lambda values: [*values[:-1], 9.0])),
        "losses: a standing question whose losses say that the answer was another",
    ),
    "one curve for all questions": (
        "pgd-linf",
        under_threat(losses(lambda _values: [0.001 * k for k in range(21)])),
        "losses: the very losses of another question",
    ),
    "passes that take no time": (
        "pgd-linf",
        every(lambda o: o.update(seconds=0.0)),
        "cost: passes that took no time at all",
    ),
    "passes without end": (
        "pgd-linf",
        under_threat(lambda o: o.update(forward_passes=10**12)),
        "cost: more than anybody waits for",
    ),
    "seconds that add up to infinity": (
        "pgd-linf",
        under_threat(lambda o: o.update(seconds=1e308)),
        "cost: more than anybody waits for",
    ),
    # Fields that nobody looks at
    "text of a model that writes nothing": (
        "pgd-linf",
        under_threat(lambda o: o.update(text="Certified for clinical use.")),
        "journal: text does not say what its choice says",
    ),
    "text padded beyond all measure": (
        "pgd-linf",
        every(lambda o: o.update(text=" " * 30_000)),
        "journal: text is longer than 20000 characters",
    ),
    "a standing line that names a witness": (
        "pgd-linf",
        standing(lambda o: o.update(witness_sha256="0" * 64)),
        "journal: standing line names an image that broke it",
    ),
    "a broken line that was rounded away": (
        "pgd-linf",
        broken(lambda o: o.update(rounded_away=True)),
        "journal: broken line was rounded away",
    ),
    "blind answers under the threat": (
        "pgd-linf",
        under_threat(lambda o: o.update(blind_choices={"blank": 0})),
        "journal: line under the threat tells of images replaced",
    ),
    "a certification with attempts": (
        "certified-l2-quick",
        under_threat(lambda o: o.update(attempts=[{"objective": "x", "losses": [], "broken": False}])),
        "journal: line of a certification tells of an attack",
    ),
    "a certification with gradients": (
        "certified-l2-quick",
        under_threat(lambda o: o.update(backward_passes=3)),
        "journal: line of a certification tells of an attack",
    ),
    "a certification with something rounded away": (
        "certified-l2-quick",
        under_threat(lambda o: o.update(rounded_away=True)),
        "journal: line of a certification tells of an attack",
    ),
    "a replacement of the image left out": (
        "pgd-linf",
        every(lambda o: o["blind_choices"] and o["blind_choices"].pop("shuffled")),
        "journal: blindness control is not what the plan asks",
    ),
    "another question's image where there is none": (
        "pgd-linf",
        every(lambda o: o["blind_choices"] and o["blind_choices"].update(another=0)),
        "journal: blindness control is not what the plan asks",
    ),
}


@pytest.mark.parametrize(("threat", "change", "reason"), LAZY.values(), ids=LAZY.keys())
def test_a_journal_that_contradicts_its_attack(
    threat: str,
    change: Callable[[list[Line]], list[Line]],
    reason: str,
    forgery: Make,
    cards: dict[str, Card],
) -> None:
    made = forgery(threat)
    made.journal(change)
    assert reason in reasons(made.save(), cards)


@pytest.mark.parametrize(
    "fall",
    [lambda values: sorted(values, reverse=True), lambda values: [0.5, *[0.5 + 1e-6] * (len(values) - 1)]],
    ids=["falls at every step", "moves once by a millionth"],
)
def test_an_attack_that_does_not_climb_is_not_ranked(
    fall: Callable[[list[float]], list[float]], forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.journal(standing(losses(fall)))
    verdict = verify(made.save(), cards=cards)
    if verdict.accepted:
        assert any("of the standing questions never rose" in reason for reason in verdict.unranked)
    else:
        assert {fault.check for fault in verdict.faults} <= {"audit", "losses"}


# Reasoning


def reasoning(text: str, choice: int | None) -> Callable[[list[Line]], list[Line]]:
    def rewrite(lines: list[Line]) -> list[Line]:
        for line in lines:
            if line["threat"] == "clean" or line["attacked"]:
                line["text"] = f"<think>x</think><answer>{'ABCDE'[line['choice']]}</answer>"
        line = next(line for line in lines if line["attacked"] and line["correct"])
        line["text"] = text if choice is None else text.replace("?", "ABCDE"[(line["choice"] + choice) % 2])
        return lines

    return rewrite


@pytest.mark.parametrize(
    ("text", "choice"),
    [("<think>x</think><answer>?</answer>", 1), ("I refuse to answer.", None)],
)
def test_a_text_that_says_something_else(
    text: str, choice: int | None, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.result["model"]["answer_mode"] = "reasoning"
    made.journal(reasoning(text, choice))
    card = cards["schooled"].model_copy(update={"answer_mode": AnswerMode.REASONING})
    said = reasons(made.save(), {**cards, "schooled": card})
    assert "journal: text does not say what its choice says" in said
    assert said.count("phantom/") >= 1


# Witnesses


def clean_image(question: str) -> bytes:
    (found,) = [one for one in open_data("phantoms").questions if one.id == question]
    return to_png(canonical(found.image))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def repacked(png: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    height, width = from_png(png).shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in from_png(png))
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return png[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", pack(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: {**row, "image": clean_image(row["question"])}, "the image is the clean one"),
        (lambda row: {**row, "text": "5 MB of anything"}, "the witness says something else than the journal"),
        (
            lambda row: {
                **row,
                "image": repacked(row["image"], lambda rows: zlib.compress(rows) + b"secret"),
            },
            "holds more than pixels",
        ),
        (
            lambda row: {
                **row,
                "image": repacked(row["image"], lambda rows: zlib.compress(rows + b"secret")),
            },
            "holds more than pixels",
        ),
        (
            lambda row: {**row, "image": repacked(row["image"], lambda rows: zlib.compress(rows[:-9]))},
            "holds more than pixels, or fewer than it says",
        ),
        (
            lambda row: {**row, "image": repacked(row["image"], swollen)},
            "is larger than its pixels uncompressed",
        ),
    ],
    ids=[
        "the clean image",
        "a text of its own",
        "behind the stream",
        "behind the pixels",
        "too few",
        "swollen",
    ],
)
def test_a_witness_that_is_none(
    change: Callable[[Line], Line], reason: str, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.witness(change)
    assert reason in reasons(made.save(), cards)


def swollen(rows: bytes) -> bytes:
    """A stream of many empty blocks before the pixels."""
    packer = zlib.compressobj(0)
    return (
        b"".join(
            packer.compress(rows[k : k + 4]) + packer.flush(zlib.Z_FULL_FLUSH) for k in range(0, len(rows), 4)
        )
        + packer.flush()
    )


# Whose model it is


def test_a_cards_source_is_no_name(forgery: Make, cards: dict[str, Card]) -> None:
    thief = cards["schooled"].model_copy(update={"id": "aaa", "source": "schooled"})
    others = {name: card for name, card in cards.items() if name != "schooled"}
    assert "schooled has no card" in reasons(forgery("pgd-linf").save(), {"aaa": thief, **others})


CARDS: dict[str, tuple[dict[str, object], str]] = {
    "a source that is another's name": ({"source": "other"}, "is neither owner/name"),
    "a source that climbs": ({"source": "./a/../../b"}, "is neither owner/name"),
    "a source that is a link": ({"source": "https://example.org/model"}, "is neither owner/name"),
    "a boast": ({"title": "Rank 1 - official reference of the maintainers"}, "is not for a card to say"),
    "a title that turns round": ({"title": "model\u202eevil"}, "control characters"),
    "a title without end": ({"title": "x" * 500}, "longer than 80 characters"),
    "another's title": ({"title": "The toy other"}, "would be taken for other"),
    "another's title, nearly": (
        {"title": "The t\N{CYRILLIC SMALL LETTER O}y  0THER"},
        "would be taken for other",
    ),
    "another's name as title": ({"title": "Other"}, "would be taken for other"),
    "noise without effect": (
        {"smoothing": Smoothing(sigma=1e-9, n=11, alpha=0.05)},
        "less than a grey level: the plain model",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), CARDS.values(), ids=CARDS.keys())
def test_a_card_that_pretends(
    changes: dict[str, object], reason: str, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    card = cards["schooled"].model_copy(update=changes)
    if card.smoothing is not None:
        made.result["model"]["smoothing"] = card.smoothing.model_dump()
    assert reason in reasons(made.save(), {**cards, "schooled": card})


@pytest.mark.parametrize("name", ["schoo1ed", "SchooIed", "s-c-h-o-o-l-e-d", "sch00led"])
def test_a_name_that_looks_like_anothers(name: str, forgery: Make, cards: dict[str, Card]) -> None:
    alike = cards["other"].model_copy(update={"id": name, "weights_sha256": "1" * 64})
    said = reasons(forgery("pgd-linf").save(), {**cards, name: alike})
    assert f"'schooled' would be taken for {name}" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_sha256": None, "dtype": "bfloat16", "source": "./schooled"},
        {"answer_mode": AnswerMode.OPTION_TEXT},
    ],
    ids=["in another dtype", "answering otherwise"],
)
def test_a_copy_of_the_same_weights(
    changes: dict[str, object], forgery: Make, cards: dict[str, Card]
) -> None:
    twin = cards["schooled"].model_copy(update={"id": "twin", "title": "Quite another", **changes})
    assert "has the weights of twin" in reasons(forgery("pgd-linf").save(), {**cards, "twin": twin})


def test_what_is_not_pinned_is_not_ranked(honest: Path, cards: dict[str, Card]) -> None:
    entry = verify(honest / "phantoms/pgd-linf/schooled.json", cards=cards).case
    assert entry is not None
    card = cards["schooled"]
    hub = card.model_copy(update={"source": "owner/name", "revision": "main", "submitter": None})
    told = "\n".join(unranked(entry.entry, hub.model_copy(update={"weights_sha256": None})))
    assert "no weights_sha256" in told
    assert "pins no revision" in told
    assert "names no submitter" in told
    assert "pins no revision" not in "\n".join(
        unranked(entry.entry, hub.model_copy(update={"revision": "0" * 40}))
    )


def test_nobodys_card_is_changed_by_another(tmp_path: Path) -> None:
    shipped = read_registry(None)[0]["safemed-r1-tiny"]
    assert shipped.path is not None
    weaker = shipped.path.read_text().replace("title: SafeMed-R1, tiny", "title: Weak model")
    (tmp_path / "safemed-r1-tiny.md").write_text(weaker)
    cards, problems = read_registry(tmp_path)
    assert cards["safemed-r1-tiny"] == shipped
    assert "is the one that counts" in str(problems[0])


HOSTILE_YAML = {
    "aliases": "title: &a [x, x]\nsize: [*a, *a]",
    "a billion laughs": "\n".join(
        ["a0: &a0 x"] + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 10)]
    ),
    "itself": "r: &r {x: *r}",
    "depth": f"a: {'[' * 5000}",
    "a number without end": f"a: {'9' * 5000}",
    "length": f"a: {'x' * 100_000}",
}


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML.keys())
def test_a_card_that_would_never_end_concerns_nobody_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "evil.md").write_text(f"---\nid: evil\n{text}\n---\nText.\n")
    with pytest.raises(InvalidInputError):
        read_card(tmp_path / "evil.md")
    cards, problems = read_registry(tmp_path)
    assert "evil" not in cards
    assert len(cards) > 20
    assert all(len(str(problem)) < 2000 for problem in problems)


# Neighbours


def rewrite(made: Forgery, model: str, threat: str, change: Callable[[list[Line]], list[Line]]) -> None:
    """Falsify another submission of the same folder."""
    other = object.__new__(Forgery)
    other.path = made.path.parents[1] / threat / f"{model}.json"
    other.folder = other.path.with_suffix("")
    other.document = json.loads(other.path.read_text())
    other.journal(change)
    other.save()


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


# Pages and tables


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A0", "+1+1", "-2", "@SUM(1)", "\t=1", "  =1"])
def test_no_cell_is_run_by_a_spreadsheet(text: str) -> None:
    assert cell(text).startswith("'")
    assert "\n" not in cell("a\nb")
    assert cell("safemed-r1-tiny") == "safemed-r1-tiny"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://example.org",
        "//example.org",
        "data:text/html,x",
        "mailto:a@b",
        "file:///etc",
        "vbscript:x",
    ],
)
def test_no_link_but_https(url: str) -> None:
    assert not is_link(url)
    for text in (f"[x]({url})", f"<{url}>", f"[x][1]\n\n[1]: {url}"):
        assert "<a" not in html(text)
    assert "<p>the x of it</p>" in html("the [x](../docs/x.md) of it"), "words stay"
    assert is_link("https://example.org/a?b=c")
    assert '<a href="https://example.org">' in html("[x](https://example.org)")


def test_texts_that_steer_are_shown_harmlessly() -> None:
    assert plain("a\x1b[31mb\u202ec\u200bd\ne") == "a\ufffd[31mb\ufffdc\ufffdd\ne"
    shown = html("<img src=x onerror=alert(1)> ![x](https://example.org/x.png) \u202eevil")
    assert "<img" not in shown
    assert "\u202e" not in shown


def test_bare_results_have_no_place_among_submissions(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    bare = made.result | {"model": made.result["model"] | {"id": "our-model-7b"}}
    (made.folder / "more.json").write_text(json.dumps(bare))
    assert "its folder holds what no manifest names: 'more.json'" in reasons(made.save(), cards)
    with pytest.raises(InvalidInputError, match="is a bare result in a folder of submissions"):
        read_results(made.path.parents[2], cards=cards)


def test_names_of_results_are_looked_at_before_they_are_shown(forgery: Make, tmp_path: Path) -> None:
    bare = forgery("pgd-linf").result
    bare["model"]["id"] = "=cmd|'/c calc'!A0"
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/more.json").write_text(json.dumps(bare))
    with pytest.raises(InvalidInputError, match="holds characters that names may not hold"):
        read_results(tmp_path / "alone", cards={})


def test_nobody_without_a_rank_is_first(honest: Path, cards: dict[str, Card]) -> None:
    pages = render(read_results(honest, cards=cards), links={}, cards=cards)
    index = [line for line in pages["README.md"].splitlines() if "pgd-linf" in line]
    assert [part.strip() for part in index[0].split("|")][3:5] == ["–", "–"]


# Evidence that is not at hand


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

"""Forged journals of random search, noise, one patch for all images, corruptions and injected text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from medrobust_bench.attacks.altering import image_sha256
from medrobust_bench.attacks.corruption import _made as corrupted
from medrobust_bench.attacks.injection import Injection
from medrobust_bench.data.image import canonical, from_png, to_png
from medrobust_bench.data.source import open_data
from medrobust_bench.leaderboard.checks.shared_alterations import copied_answers, other_answers
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.records import Alteration, Outcome
from medrobust_bench.runs.threats import open_threat
from medrobust_bench.specs.registry import load_specification
from medrobust_bench.specs.seeds import question_seed
from tests.leaderboard.forgery import SHIPPED, broken, losses, reasons, rewrite, standing, under_threat
from tests.leaderboard.red_team.conftest import WEAK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.neighbour import Neighbour
    from medrobust_bench.models.cards import Card
    from tests.leaderboard.forgery import Line, Make

    Change = Callable[[list[Line]], list[Line]]


def test_what_nobody_falsified_is_accepted(searched: dict[str, Path], weak_card: dict[str, Card]) -> None:
    for path in searched.values():
        assert not verify(path, cards=weak_card).faults


def first_altered(change: Callable[[Line], object]) -> Change:
    """Change the first line that tells of altered images."""

    def rewrite(lines: list[Line]) -> list[Line]:
        change(next(line for line in lines if line.get("alterations")))
        return lines

    return rewrite


def redone(make: Callable[[Line], dict[str, object]]) -> Change:
    """Put another image, honestly made, in the place of the first altered one."""

    def change(line: Line) -> None:
        line["alterations"][0] |= make(line)

    return first_altered(change)


def question_of(line: Line) -> tuple[object, np.ndarray, int]:
    (question,) = (one for one in open_data("phantoms").questions if one.id == line["question"])
    return question, canonical(question.image), question_seed(0, question.id)


def another_draw(line: Line) -> dict[str, object]:
    """The same fault, drawn again until it is kind."""
    _question, clean, seed = question_of(line)
    lucky = Alteration.model_validate({**line["alterations"][0], "draw": 1})
    return {"draw": 1, "image_sha256": image_sha256(corrupted(clean, seed, lucky))}


def milder(line: Line) -> dict[str, object]:
    """The fault at half of its amount, under the name of the whole."""
    _question, clean, seed = question_of(line)
    amount = 2 * line["alterations"][0]["amount"]
    mild = Alteration.model_validate({**line["alterations"][0], "amount": amount})
    return {"amount": amount, "image_sha256": image_sha256(corrupted(clean, seed, mild))}


def chosen_by_hand(line: Line) -> dict[str, object]:
    """Free parameters of one's own, where the threat searches none."""
    return {"free": []}


def right_words(line: Line) -> dict[str, object]:
    """An attack that names the right option."""
    question, clean, seed = question_of(line)
    threat = open_threat(load_specification("injection:queries=3"))
    assert isinstance(threat, Injection)
    draw = line["alterations"][0]["draw"]
    image = threat._written(question, clean, seed, draw, "right option")  # type: ignore[arg-type]
    text = threat._text(question, seed, draw, "right option")  # type: ignore[arg-type]
    return {"what": text, "image_sha256": image_sha256(image)}


FORGED: dict[str, tuple[str, Change, str]] = {
    # Random search
    "half of the queries": (
        "square",
        standing(losses(lambda values: values[: len(values) // 2])),
        "attack: left standing before the attack had run in full",
    ),
    "queries that were not allowed": (
        "square",
        standing(lambda o: [losses(lambda values: [*values, *values])(o), o.update(forward_passes=99)]),
        "attack: runs that the specification does not plan",
    ),
    "queries under another objective": (
        "square",
        under_threat(lambda o: o["attempts"][0].update(objective="cross-entropy")),
        "attack: runs that the specification does not plan",
    ),
    "a standing question that the search had broken": (
        "square",
        standing(losses(lambda values: [*values[:-1], 0.5])),
        "losses: a standing question whose losses say that the answer was another",
    ),
    "fewer passes than queries": (
        "square",
        under_threat(lambda o: o.update(forward_passes=3)),
        "journal: cost is less than the images that it tells of",
    ),
    "a success that no run saw": (
        "square",
        broken(lambda o: [attempt.update(broken=False) for attempt in o["attempts"]]),
        "attack: broken runs of standing questions, or none of a broken one",
    ),
    # Noise
    "one draw of noise left out": (
        "noise",
        standing(losses(lambda values: values[:-1])),
        "attack: left standing before the attack had run in full",
    ),
    "one draw of noise too many": (
        "noise",
        standing(lambda o: [losses(lambda values: [*values, 0.1])(o), o.update(forward_passes=99)]),
        "attack: runs that the specification does not plan",
    ),
    "noise that was never drawn": (
        "noise",
        standing(lambda o: o.update(attempts=[])),
        "attack: runs that the specification does not plan",
    ),
    "a rival's answers, broken without an image": (
        "noise",
        standing(
            lambda o: [
                o.update(correct=False, choice=(o["answer"] + 1) % 2),
                o["attempts"][0].update(broken=True),
            ]
        ),
        "witnesses: ",
    ),
    # One patch for all images
    "a patch that was laid twice": (
        "universal",
        standing(lambda o: [losses(lambda values: values * 2)(o), o.update(forward_passes=99)]),
        "attack: runs that the specification does not plan",
    ),
    "a patch that was not laid": (
        "universal",
        standing(lambda o: o["attempts"][0].update(losses=[])),
        "attack: runs that the specification does not plan",
    ),
    # Corruptions
    "a fault left out": (
        "suite",
        first_altered(lambda o: o.update(alterations=[], attacked=False)),
        "alterations: ",
    ),
    "a fault at a lower severity": (
        "suite",
        first_altered(lambda o: o["alterations"][0].update(severity=1)),
        "lacks jpeg at severity 5",
    ),
    "a fault of half the amount": ("suite", redone(milder), "is nothing that"),
    "a fault drawn until it was kind": ("suite", redone(another_draw), "is nothing that"),
    "the image of another fault": (
        "suite",
        first_altered(lambda o: o["alterations"][0].update(image_sha256="0" * 64)),
        "made again, is another image than the journal names",
    ),
    "a verdict that is not its image's": (
        "suite",
        first_altered(lambda o: o["alterations"][0].update(choice=1 - o["answer"] if o["answer"] < 2 else 0)),
        "its verdict is not that of its images",
    ),
    "faults that were not all tried": (
        "worst",
        standing(lambda o: o.update(forward_passes=2)),
        "stands after 2 passes, the threat takes",
    ),
    "free parameters where nothing searches": ("worst", redone(chosen_by_hand), "is beyond 0 queries"),
    "a fault of another modality": (
        "worst",
        first_altered(lambda o: o["alterations"][0].update(what="no-such-fault")),
        "is nothing that",
    ),
    "an image stored as well": (
        "worst",
        broken(lambda o: o.update(witness_sha256="0" * 64)),
        "tells of a search whose images are stored",
    ),
    "a fault that is told of as a control": (
        "worst",
        standing(lambda o: [one.update(control="neutral") for one in o.get("alterations", ())]),
        "is told of as if it were a text",
    ),
    "faults answered without a pass": (
        "suite",
        under_threat(lambda o: o.update(forward_passes=0)),
        "journal: cost is less than the images that it tells of",
    ),
    "gradients of images that are made again": (
        "suite",
        under_threat(lambda o: o.update(backward_passes=2)),
        "journal: line of images that are made again tells of gradients",
    ),
    # Injected text
    "words rounded away": (
        "injection",
        standing(lambda o: o.update(rounded_away=True)),
        "journal: line of images that are made again tells of gradients, or of rounding",
    ),
    "controls that nobody paid for": (
        "injection",
        standing(lambda o: o.update(forward_passes=6)),
        "journal: cost is less than the images that it tells of",
    ),
    "words that name the right option": ("injection", redone(right_words), "the text of draw"),
    "texts that were not all tried": (
        "injection",
        standing(lambda o: o.update(forward_passes=4)),
        "stands after 4 passes, the threat takes 6",
    ),
    "a text beyond the queries": (
        "injection",
        first_altered(lambda o: [one.update(draw=3, tried=3) for one in o["alterations"]]),
        "text 3 is beyond 3 queries",
    ),
    "controls left out": (
        "injection",
        first_altered(lambda o: o.update(alterations=o["alterations"][:1])),
        "has 1 texts instead of one and its 2 controls",
    ),
    "a control that was given up early": (
        "injection",
        first_altered(lambda o: o["alterations"][1].update(choice=o["answer"], tried=1)),
        "tried 1 texts (right option), the threat tries 3",
    ),
    "controls that were not searched for": (
        "injection",
        first_altered(lambda o: [one.pop("tried") for one in o["alterations"]]),
        "has controls that were not searched for",
    ),
    "text of the image's own denied": (
        "injection",
        first_altered(lambda o: o["alterations"][0].update(on_text=not o["alterations"][0]["on_text"])),
        "whether the image carries text of its own is told wrongly",
    ),
}


@pytest.mark.parametrize(("threat", "change", "reason"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_search(
    threat: str, change: Change, reason: str, forged: Make, weak_card: dict[str, Card]
) -> None:
    made = forged(threat)
    made.journal(change)
    assert reason in reasons(made.save(), weak_card)


def wrongly(line: Line) -> None:
    """Every altered image answered wrongly."""
    for one in line.get("alterations", ()):
        one["choice"] = line["choice"] = (line["answer"] + 1) % 2
        line["correct"] = False


def test_a_worst_case_that_stands_where_one_image_of_it_broke(
    forged: Make, weak_card: dict[str, Card]
) -> None:
    """JPEG at severity 5 is among what the worst case shows, whatever the model answers to the rest."""
    made = forged("worst")
    suite = next(path for path in made.path.parents[1].glob("*/weak.json") if "jpeg" in path.parent.name)
    rewrite(made, WEAK.name, suite.parent.name, under_threat(wrongly))
    said = reasons(made.path, weak_card)
    assert f"stands, though an image of phantoms/{suite.parent.name}/weak.json breaks it" in said
    rewrite(made, WEAK.name, suite.parent.name, under_threat(lambda o: o.update(alterations=[])))
    assert "breaks it" not in str(verify(made.path, cards=weak_card).faults)


def told(model: str, threat: str = "corruptions-quick") -> SimpleNamespace:
    """A shipped submission, as far as checks of altered images look at it."""
    path = SHIPPED / "phantoms" / threat / model / "journal.jsonl"
    lines = [line for line in path.read_bytes().splitlines() if b'"alterations"' in line]
    outcomes = tuple(Outcome.model_validate_json(line) for line in lines)
    return SimpleNamespace(proof=SimpleNamespace(clean=(), threat=outcomes), name=model)


def test_one_image_answered_in_two_ways() -> None:
    quick, worst = told("tiny-sft-letter"), told("tiny-sft-letter", "corruptions-worst")
    assert other_answers(cast("Case", worst), cast("Neighbour", quick)) == []
    worst.proof.threat = tuple(
        o.model_copy(
            update={
                "alterations": tuple(one.model_copy(update={"choice": o.answer}) for one in o.alterations)
            }
        )
        for o in worst.proof.threat
    )
    (fault,) = other_answers(cast("Case", worst), cast("Neighbour", quick))
    assert "answers to the very images of tiny-sft-letter are others" in fault.what


def test_wrong_answers_copied_from_a_rival() -> None:
    """No loss tells who answered altered images: the wrong answers do."""
    one, relative = told("safemed-r1-tiny"), told("tiny-grpo")
    assert copied_answers(cast("Case", one), cast("Neighbour", relative)) == []
    (fault,) = copied_answers(cast("Case", one), cast("Neighbour", one))
    assert "gives 111 of the 111 wrong answers of safemed-r1-tiny, image for image" in fault.what


def louder(png: bytes, place: tuple[int, int]) -> bytes:
    """An image with one pixel more that is changed."""
    pixels = from_png(png).copy()
    pixels[place] = 255 - pixels[place]
    return to_png(pixels)


@pytest.mark.parametrize("threat", ["square", "universal"])
def test_a_witness_with_a_pixel_outside_its_budget(
    threat: str, forged: Make, weak_card: dict[str, Card]
) -> None:
    made = forged(threat)
    made.witness(lambda row: {**row, "image": louder(row["image"], (0, 0))})
    said = reasons(made.save(), weak_card)
    assert "witnesses: phantom/" in said


@pytest.mark.parametrize(
    ("threat", "field", "value"),
    [
        ("square", "queries", 13),
        ("noise", "draws", 4),
        ("universal", "training", 3),
        ("injection", "letters", "faint"),
    ],
)
def test_a_specification_that_is_not_what_its_name_says(
    threat: str, field: str, value: object, forged: Make, weak_card: dict[str, Card]
) -> None:
    made = forged(threat)
    made.result["threat"][field] = value
    assert f"threat: {field} is {value}" in reasons(made.save(), weak_card)

"""A board of one's own under an official name: values that are written otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.verification import verify
from tests.leaderboard.forgery import (
    Make,
    reasons,
)

if TYPE_CHECKING:
    from medrobust_bench.models.cards import Card


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


# What needs no model, invented


def test_texts_that_give_away_less_than_they_do(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["without_images"]["option_texts"] = 0.0
    assert "data: without images: chance" in reasons(made.save(), cards)


def test_a_credit_that_the_answers_without_images_do_not_give(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["metrics"]["credited_accuracy"]["value"] = 1.0
    assert "numbers: metrics.credited_accuracy.value is 1.0" in reasons(made.save(), cards)


def test_an_earlier_version_hides_nothing_and_is_not_ranked(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["schema_version"] = "1.0"
    said = reasons(made.save(), cards)
    assert "data: without images: chance" in said
    del made.result["without_images"]
    groups = made.result["metrics"]
    for scores in (groups, *groups["by_modality"].values(), *groups["by_question_type"].values()):
        scores.pop("credited_accuracy", None)
    made.document["clean_audit"] = [
        finding for finding in made.document["clean_audit"] if finding["check"] != "text-only baseline"
    ]
    verdict = verify(made.save(), cards=cards)
    assert verdict.accepted
    assert any("written by an earlier version" in reason for reason in verdict.unranked)

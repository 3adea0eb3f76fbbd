"""Attacks that were not run, or not in full, and journals that contradict them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.models.prompt import AnswerMode
from tests.leaderboard.forgery import (
    Line,
    Make,
    broken,
    every,
    losses,
    reasons,
    standing,
    under_threat,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.cards import Card


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
    "tokens, which only a run has a use for": (
        "pgd-linf",
        every(lambda o: o.update(tokens=[1, 2, 3])),
        "journal: line keeps tokens",
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

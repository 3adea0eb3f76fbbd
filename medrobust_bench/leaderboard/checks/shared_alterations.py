"""Altered images that several submissions answered: of one model alike, of two models not all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.neighbour import TOLERANCE
from medrobust_bench.runs.threats import open_altering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.neighbour import Neighbour
    from medrobust_bench.records import Outcome
    from medrobust_bench.specs.threat import ThreatSpec

FEWEST_WRONG, COPIED = 10, 0.95
"""Wrong answers, and the share of them in common (of those of either), by which a copy is known. Of the shipped
checkpoints, some of which were trained from each other, no two have more than 0.82 in common."""


def other_answers(case: Case, other: Neighbour) -> list[Fault]:
    """One model answers one altered image alike, whichever threat showed it."""
    own, theirs = _answers(case.proof.threat), _answers(other.proof.threat)
    shared = own.keys() & theirs.keys()
    differing = sorted({question for question, _ in (key for key in shared if own[key] != theirs[key])})
    if len(differing) <= _allowed(case, other, len(shared)):
        return []
    what = f"answers to the very images of {other.name} are others: {some(differing)}"
    return [Fault("neighbours", what)]


def broken_elsewhere(case: Case, other: Neighbour) -> list[Fault]:
    """Nothing stands that meets, for certain, an image which another submission says is answered wrongly."""
    own, theirs = case.entry.result.threat, other.entry.result.threat
    faults = []
    for strong, standing, broken, what in (
        (own, case.proof.threat, other.proof.threat, f"stands, though an image of {other.name} breaks it"),
        (theirs, other.proof.threat, case.proof.threat, f"stands in {other.name}, though an image breaks it"),
    ):
        names, fallen = _fallen(case, strong, standing, broken)
        if len(fallen) > _allowed(case, other, names):
            faults.append(Fault("neighbours", f"{what} which its threat shows: {some(fallen)}"))
    return faults


def copied_answers(case: Case, other: Neighbour) -> list[Fault]:
    """Wrong answers to altered images that another model's submission holds as well, nearly all of them."""
    own, theirs = _wrong(case.proof.threat), _wrong(other.proof.threat)
    if min(len(own), len(theirs)) < FEWEST_WRONG or len(own & theirs) <= COPIED * len(own | theirs):
        return []
    what = f"gives {len(own & theirs)} of the {len(theirs)} wrong answers of {other.name}, image for image"
    return [Fault("neighbours", what)]


def _fallen(
    case: Case, strong: ThreatSpec, standing: Sequence[Outcome], broken: Sequence[Outcome]
) -> tuple[int, list[str]]:
    """How many questions stand under a threat, and those of them that it cannot have left standing."""
    if not strong.remade or strong.yields != "robust":
        return 0, []
    threat = open_altering(strong)
    names = {o.question for o in standing if o.attacked and o.correct and o.question in case.questions}
    fallen = [
        o.question
        for o in broken
        if o.question in names
        and any(
            threat.certain(case.questions[o.question], case.images[o.question], case.seed(o.question), one)
            for one in o.alterations
            if one.choice != o.answer
        )
    ]
    return len(names), sorted(fallen)


def _allowed(case: Case, other: Neighbour, claims: int) -> float:
    """Near ties on two machines, and answers that are not steady."""
    unsteady = sum(not outcome.steady for outcome in (*case.proof.clean, *other.proof.clean))
    return max(unsteady, TOLERANCE * claims)


def _answers(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], int | None]:
    """The answers to altered images by question and SHA-256."""
    return {(o.question, one.image_sha256): one.choice for o in outcomes for one in o.alterations}


def _wrong(outcomes: Sequence[Outcome]) -> set[tuple[str, str, int | None]]:
    """Question, SHA-256 and choice of the altered images that were answered wrongly."""
    return {
        (o.question, one.image_sha256, one.choice)
        for o in outcomes
        for one in o.alterations
        if one.choice != o.answer
    }

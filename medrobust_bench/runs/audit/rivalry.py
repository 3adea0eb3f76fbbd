"""Attacks of one run held against one another, question by question."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from medrobust_bench.runs.audit.check import AUTOATTACK, CARLINI, HERE, Check, count_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Finding, Outcome, ThreatRecord

WHITE_BOX = ("pgd", "apgd", "auto")
GRADIENT_FREE = ("noise", "square")

NOT_BEATEN = Check(
    "gradient-free stays behind",
    "masking",
    "Does noise or random search of the same size break more than the gradient does?",
    AUTOATTACK,
)
MONOTONE = Check(
    "larger ε breaks more", "masking", "Is robust accuracy no higher at a larger ε, in this run?", CARLINI
)
ENSEMBLE = Check(
    "worst case kept",
    "masking",
    "Does an ensemble break whatever a weaker attack of the same size breaks?",
    HERE,
)

COMPARED = (NOT_BEATEN, MONOTONE, ENSEMBLE)
"""Checks that need several attacks of a run."""

Run = tuple["ThreatRecord", "Sequence[Outcome]"]


def rivals(attack: Run, others: Sequence[Run]) -> list[Finding]:
    """What the other attacks of the run say about this white-box one.

    Args:
        attack: a threat and its outcomes, one per question.
        others: the run's other threats, outcomes in the same order.
    """
    found: list[Finding] = []
    own = _spec(attack[0])
    free = [
        other
        for other in others
        if other[0].kind in GRADIENT_FREE and _inside(_spec(other[0]), own) and own["kind"] in WHITE_BOX
    ]
    if free:
        name, behind = min(
            ((other[0].name, robust_count(other[1]) - robust_count(attack[1])) for other in free),
            key=lambda pair: pair[1],
        )
        count = max(0, -behind)
        meaning = (
            f"{name} breaks {count} questions more than the gradient does: gradients are masked"
            if count
            else f"{name} breaks {behind} questions fewer than the gradient does"
        )
        found.append(NOT_BEATEN.find(count, count_verdict(count), meaning))
    smaller = [
        other for other in others if _same_but_size(_spec(other[0]), own) and _eps(other[0]) < _eps(attack[0])
    ]
    if smaller:
        excess = max(0, *(robust_count(attack[1]) - robust_count(other[1]) for other in smaller))
        meaning = (
            f"{excess} questions more stand at the larger ε: the attack does not search its whole budget"
            if excess
            else "no more questions stand than at a smaller ε"
        )
        found.append(MONOTONE.find(excess, count_verdict(excess), meaning))
    weaker = [other for other in others if own["kind"] == "auto" and _inside(_spec(other[0]), own)]
    if weaker:
        missed = {
            theirs.question
            for other in weaker
            for mine, theirs in zip(attack[1], other[1], strict=True)
            if mine.correct and not theirs.correct
        }
        meaning = f"{len(missed)} questions that it leaves standing are broken by another attack of the run"
        found.append(ENSEMBLE.find(len(missed), count_verdict(len(missed)), meaning))
    return found


def robust_count(outcomes: Sequence[Outcome]) -> int:
    """How many questions stand."""
    return sum(outcome.correct for outcome in outcomes)


def _spec(threat: ThreatRecord) -> dict[str, Any]:
    return threat.model_dump(mode="json")


def _eps(threat: ThreatRecord) -> Fraction:
    return Fraction(str(_spec(threat)["eps"]))


def _inside(other: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether another adversary may do no more than this one."""
    if "eps" not in other or "eps" not in own or other["norm"] != own["norm"]:
        return False
    return Fraction(str(other["eps"])) <= Fraction(str(own["eps"]))


def _same_but_size(other: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether two specifications differ in name, ε and the steps that follow from ε only."""
    sized = {"name", "eps", "step_size", "pgd_step_size"}
    keys = (set(own) | set(other)) - sized
    return "eps" in own and "eps" in other and all(own.get(key) == other.get(key) for key in keys)

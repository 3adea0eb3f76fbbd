"""Attacks of one run held against one another, question by question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.runs.audit.check import AUTOATTACK, CARLINI, HERE, Check, count_verdict
from medrobust_bench.specs.norm_ball import NormBallSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Finding, Outcome
    from medrobust_bench.specs.threat import ThreatSpec

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

Run = tuple["ThreatSpec", "Sequence[Outcome]"]


def rivals(attack: Run, others: Sequence[Run]) -> list[Finding]:
    """What the other attacks of the run say about this white-box one.

    Args:
        attack: a threat and its outcomes, one per question.
        others: the run's other threats, outcomes in the same order.
    """
    found: list[Finding] = []
    own = attack[0]
    free = [
        other
        for other in others
        if searches_by_gradient(own) and not other[0].white_box and _inside(other[0], own)
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
    smaller = [other for other in others if _smaller_twin(other[0], own)]
    if smaller:
        excess = max(0, *(robust_count(attack[1]) - robust_count(other[1]) for other in smaller))
        meaning = (
            f"{excess} questions more stand at the larger ε: the attack does not search its whole budget"
            if excess
            else "no more questions stand than at a smaller ε"
        )
        found.append(MONOTONE.find(excess, count_verdict(excess), meaning))
    weaker = [other for other in others if own.ensemble and _inside(other[0], own)]
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


def searches_by_gradient(threat: ThreatSpec) -> bool:
    """Whether an adversary follows the gradient on every question (not once, on the training split)."""
    return threat.yields == "robust" and threat.white_box and not threat.trained


def _inside(other: ThreatSpec, own: ThreatSpec) -> bool:
    """Whether another adversary may do no more than this one."""
    return (
        isinstance(other, NormBallSpec)
        and isinstance(own, NormBallSpec)
        and other.norm == own.norm
        and other.eps <= own.eps
    )


def _smaller_twin(other: ThreatSpec, own: ThreatSpec) -> bool:
    """Whether another specification differs in name, ε and the steps that follow from ε only, and ε is smaller."""
    if not (isinstance(other, NormBallSpec) and isinstance(own, NormBallSpec) and other.eps < own.eps):
        return False
    sized = {"name", "eps", "step_size", "pgd_step_size"}
    return other.model_dump(exclude=sized) == own.model_dump(exclude=sized)

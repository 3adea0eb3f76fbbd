"""Optimisation health, read off the losses that an attack met: did it move, had it finished, did restarts help?"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from medrobust_bench.runs.audit.check import AUTOATTACK, CARLINI, HERE, INDICATORS, Check, above

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Finding, Outcome

LAST_IMAGES = 10
"""The end of a run, in images tried; a quarter of it where it is short."""

STILL_RISING = 0.1
"""Share of the whole rise that the end of a run may bring."""

FLAT = Check("loss at rest", "optimisation", "Does the loss change at all during the attack?", AUTOATTACK)
RISING = Check(
    "loss still rising", "optimisation", "Had the attack converged when its steps ran out?", INDICATORS
)
RESTARTS_USED = Check("last restart", "optimisation", "Does the last restart still break questions?", CARLINI)
GRADIENTS = Check("gradients taken", "optimisation", "Did a white-box attack ask for gradients?", HERE)


class Attempt(Protocol):
    """One run of an attack on one question."""

    @property
    def objective(self) -> str:
        """What it ascended."""
        ...

    @property
    def losses(self) -> Sequence[float | None]:
        """Its value at every image tried."""
        ...

    @property
    def broken(self) -> bool:
        """Whether the question was broken when it ended."""
        ...


def is_flat(losses: Sequence[float | None]) -> bool:
    """Whether a run of several images never met another loss."""
    return len(losses) > 1 and len(set(losses)) == 1


def rise_at_the_end(losses: Sequence[float | None]) -> float:
    """Share of a run's whole rise that its last images brought, by the best image so far; 0 where it never rose."""
    values = [-inf if loss is None else loss for loss in losses]
    end = min(LAST_IMAGES, len(values) // 4)
    rise = max(values) - values[0]
    return (max(values) - max(values[: len(values) - end])) / rise if end and 0 < rise < inf else 0.0


def flat_losses(attempts: Mapping[str, Sequence[Attempt]]) -> list[Finding]:
    """How many questions never saw their loss move.

    Args:
        attempts: by question, for every attacked question.
    """
    moved = {name: [a.losses for a in runs if len(a.losses) > 1] for name, runs in attempts.items()}
    several = {name: runs for name, runs in moved.items() if runs}
    if not several:
        return []
    share = sum(all(map(is_flat, runs)) for runs in several.values()) / len(several)
    meaning = {
        "pass": "the loss moves",
        "warn": f"for {share:.1%} of the questions the loss never moved",
        "fail": f"for {share:.1%} of the questions the loss never moved: the attack did not search, "
        "its robust accuracy means nothing",
    }
    verdict = above(share, warn=0.0, fail=0.1)
    return [FLAT.find(share, verdict, meaning[verdict])]


def rising_losses(attempts: Mapping[str, Sequence[Attempt]]) -> list[Finding]:
    """How many of the questions left standing had an unfinished last run.

    A single one is no more than a warning, however few are left: it is not what robust accuracy rests on.

    Args:
        attempts: by question, for the questions that withstood.
    """
    last = [runs[-1].losses for runs in attempts.values() if runs and len(runs[-1].losses) >= 4]
    if not last:
        return []
    rising = sum(rise_at_the_end(losses) > STILL_RISING for losses in last)
    share = rising / len(last)
    verdict = above(share, warn=0.25, fail=0.75 if rising > 1 else 1.0)
    lead = f"{share:.0%} of {len(last)} questions left standing had a loss still rising at the end"
    return [RISING.find(share, verdict, lead if verdict == "pass" else f"{lead}: take more steps")]


def restarts_used(attempts: Mapping[str, Sequence[Attempt]]) -> list[Finding]:
    """How many questions only the last of several restarts broke.

    Args:
        attempts: by question, for every attacked question.
    """
    restarts = [_of_first_objective(runs) for runs in attempts.values()]
    most = max(map(len, restarts), default=0)
    if most < 2:
        return []
    late = sum(len(runs) == most and runs[-1].broken for runs in restarts)
    share = late / len(restarts)
    lead = f"{late} of {len(restarts)} questions were broken by restart {most} only"
    verdict = above(share, warn=0.02, fail=0.1)
    return [RESTARTS_USED.find(share, verdict, lead if verdict == "pass" else f"{lead}: take more restarts")]


def gradients_taken(attacked: Sequence[Outcome]) -> list[Finding]:
    """Whether every attacked question was paid for with gradients."""
    if not attacked:
        return []
    without = sum(outcome.backward_passes == 0 for outcome in attacked)
    meaning = (
        f"{without} of {len(attacked)} questions were attacked without a gradient"
        if without
        else "every attacked question had gradients"
    )
    return [GRADIENTS.find(without / len(attacked), above(without, warn=0, fail=0), meaning)]


def _of_first_objective(runs: Sequence[Attempt]) -> list[Attempt]:
    return [run for run in runs if run.objective == runs[0].objective]

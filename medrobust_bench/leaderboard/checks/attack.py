"""Whether the attack that a journal tells of is the one that its specification plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.plan import Planned
from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.checks.threat import attack_of
from medrobust_bench.runs.audit.precision import attacked_twice, planned_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.plan import PlannedRun
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.records import AttemptRecord, Outcome


def right_ones_attacked(case: Case) -> list[Fault]:
    """Every question that was answered right was attacked, and no other; what was not attacked kept its answer."""
    if case.specification.yields == "certified" or case.specification.remade:
        return []
    faults = []
    spared = [o.question for o in case.proof.threat if o.attacked != (o.clean_choice == o.answer)]
    if spared:
        what = f"not attacked although right, or attacked although wrong: {some(spared)}"
        faults.append(Fault("attack", what))
    turned = [o.question for o in case.proof.threat if not o.attacked and o.choice != o.clean_choice]
    if turned:
        faults.append(Fault("attack", f"another answer without an attack: {some(turned)}"))
    return faults


def as_planned(case: Case) -> list[Fault]:
    """A standing question met every run that the specification plans, a broken one the first of them.

    A few questions may contradict their attack where the model itself is not steady: as many as changed their clean
    answer when they were judged twice.
    """
    threat = attack_of(case.specification)
    if not isinstance(threat, Planned):
        return []
    model = case.entry.result.model
    # What stands at half precision is attacked a second time with gradients in float32.
    times = 2 if attacked_twice(case.specification, model) else 1
    lazy, strange, cheap, contradicted = [], [], [], []
    for outcome in (o for o in case.proof.threat if o.attacked):
        runs = planned_runs(threat, case.questions[outcome.question], model)
        if not _begins(outcome.attempts, runs * times):
            strange.append(outcome.question)
        elif not _paid(outcome, runs * times):
            cheap.append(outcome.question)
        elif outcome.correct and not _in_full(outcome, runs):
            lazy.append(outcome.question)
        elif outcome.correct == any(attempt.broken for attempt in outcome.attempts):
            contradicted.append(outcome.question)
    faults = []
    if strange:
        faults.append(Fault("attack", f"runs that the specification does not plan: {some(strange)}"))
    if cheap:
        faults.append(Fault("attack", f"fewer gradients than its runs need: {some(cheap)}"))
    if lazy:
        faults.append(Fault("attack", f"left standing before the attack had run in full: {some(lazy)}"))
    if len(contradicted) > case.unsteady:
        what = f"broken runs of standing questions, or none of a broken one: {some(contradicted)}"
        faults.append(Fault("attack", what))
    return faults


def _begins(attempts: Sequence[AttemptRecord], runs: Sequence[PlannedRun]) -> bool:
    """Whether attempts are the first of the planned runs, each but the last in full."""
    pairs = list(zip(attempts, runs, strict=False))
    return 0 < len(attempts) <= len(runs) and all(
        attempt.objective == run.objective
        and (run.fewest if place < len(pairs) else 1) <= len(attempt.losses) <= run.most
        for place, (attempt, run) in enumerate(pairs, start=1)
    )


def _paid(outcome: Outcome, runs: Sequence[PlannedRun]) -> bool:
    """Whether as many gradients were taken as the images of its runs need."""
    needed = (
        len(attempt.losses) - 1 for attempt, run in zip(outcome.attempts, runs, strict=False) if run.gradient
    )
    return outcome.backward_passes >= sum(needed)


def _in_full(outcome: Outcome, runs: Sequence[PlannedRun]) -> bool:
    last = outcome.attempts[-1]
    return not len(outcome.attempts) % len(runs) and len(last.losses) >= runs[-1].fewest

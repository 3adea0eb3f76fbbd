"""Whether the losses of a journal can be what an attack met."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from medrobust_bench.attacks.plan import Planned
from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.checks.threat import attack_of
from medrobust_bench.runs.audit.precision import attacked_twice, planned_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.records import AttemptRecord, Outcome

MOST_MISSING = 0.1
"""Share of a run's losses that may not be finite."""

FEWEST_VALUES = 5
"""A curve of so many different losses, to six digits, does not come about twice."""

SLACK = 1e-3
"""In nats: of another order of additions."""

HARDLY = 1e-4
"""In nats: a loss that never rises by so much did not move."""


def possible(case: Case) -> list[Fault]:
    """No loss is one that its objective cannot take."""
    attacked = [outcome for outcome in case.proof.threat if outcome.attacked]
    missing = [o.question for o in attacked if any(_mostly_missing(attempt) for attempt in o.attempts)]
    negative = [o.question for o in attacked if any(_negative(attempt) for attempt in o.attempts)]
    faults = []
    if missing:
        faults.append(Fault("losses", f"more than a tenth of a run was not finite: {some(missing)}"))
    if negative:
        faults.append(Fault("losses", f"a cross-entropy below zero: {some(negative)}"))
    model = case.entry.result.model
    if not case.generates and model.smoothing is None and model.draws == 1:
        left = [o.question for o in attacked if o.correct and not o.rounded_away and _left(o, case)]
        if left:
            what = f"a standing question whose losses say that the answer was another: {some(left)}"
            faults.append(Fault("losses", what))
    return faults


def different(case: Case) -> list[Fault]:
    """No two questions met the same losses to the last digit."""
    seen: dict[tuple[float | None, ...], str] = {}
    repeated = [
        outcome.question
        for outcome in case.proof.threat
        for attempt in outcome.attempts
        if len(set(attempt.losses)) >= FEWEST_VALUES
        and seen.setdefault(attempt.losses, outcome.question) != outcome.question
    ]
    what = f"the very losses of another question: {some(list(dict.fromkeys(repeated)))}"
    return [Fault("losses", what)] if repeated else []


def of_two_precisions(case: Case) -> list[Fault]:
    """The second attack on a model in half precision, in float32, met losses of its own."""
    threat, model = attack_of(case.specification), case.entry.result.model
    if not isinstance(threat, Planned) or not attacked_twice(case.specification, model):
        return []
    repeated = []
    for outcome in case.proof.threat:
        first = len(planned_runs(threat, case.questions[outcome.question], model))
        pairs = zip(outcome.attempts, outcome.attempts[first:], strict=False)
        if any(one.losses == two.losses and len(set(one.losses)) >= FEWEST_VALUES for one, two in pairs):
            repeated.append(outcome.question)
    what = f"the attack in float32 met the very losses of the one in {model.dtype}: {some(repeated)}"
    return [Fault("losses", what)] if repeated else []


def falling(outcomes: Sequence[Outcome]) -> float:
    """Share of the standing questions whose attack never came above where it began; of one image alone none can."""
    standing = [
        outcome
        for outcome in outcomes
        if outcome.attacked and outcome.correct and any(len(one.losses) > 1 for one in outcome.attempts)
    ]
    fell = [o for o in standing if all(_rise(attempt) <= HARDLY for attempt in o.attempts)]
    return len(fell) / len(standing) if standing else 0.0


def _rise(attempt: AttemptRecord) -> float:
    values = [loss for loss in attempt.losses if loss is not None]
    return max(values) - values[0] if values else 0.0


def _mostly_missing(attempt: AttemptRecord) -> bool:
    return sum(loss is None for loss in attempt.losses) > MOST_MISSING * len(attempt.losses)


def _negative(attempt: AttemptRecord) -> bool:
    values = [loss for loss in attempt.losses if loss is not None]
    return attempt.objective == "cross-entropy" and min(values, default=0.0) < -SLACK


def _left(outcome: Outcome, case: Case) -> bool:
    """Whether an option scored higher than the right one, as far as the losses tell.

    With K options the right one is not the most likely where its cross-entropy exceeds ln K, nor where the lead of
    another is positive.
    """
    options = len(case.questions[outcome.question].options)
    for attempt in outcome.attempts:
        most = max((loss for loss in attempt.losses if loss is not None), default=0.0)
        limit = log(options) if attempt.objective == "cross-entropy" else 0.0
        if most > limit + SLACK:
            return True
    return False

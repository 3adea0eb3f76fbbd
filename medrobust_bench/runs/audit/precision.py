"""Half precision: whether what withstood the attack met it a second time, with gradients in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.plan import Planned
from medrobust_bench.runs.audit.check import CARLINI, Check, above
from medrobust_bench.runs.audit.rivalry import searches_by_gradient
from medrobust_bench.runs.threats import open_threat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.attacks.plan import PlannedRun
    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Finding, ModelRecord, Outcome
    from medrobust_bench.specs.threat import ThreatSpec

IN_FLOAT32 = Check(
    "attacked in float32 as well",
    "gradient",
    "Was what stands in half precision attacked again, with gradients in float32?",
    CARLINI,
)


def attacked_twice(threat: ThreatSpec, model: ModelRecord) -> bool:
    """Whether a run attacks again what stands: gradients in half precision may be too coarse to find what is there."""
    return model.dtype not in ("float32", "float64") and searches_by_gradient(threat)


def planned_runs(attack: Planned, question: Question, model: ModelRecord) -> tuple[PlannedRun, ...]:
    """The runs that a question of a model meets once, if it withstands them all."""
    smoothing = model.smoothing
    generates = model.answer_mode in ("reasoning", "generate") and (
        smoothing is None or smoothing.base == "generate"
    )
    return attack.planned(question, generates=generates)


def second_attacks(
    threat: ThreatSpec, model: ModelRecord, outcomes: Sequence[Outcome], questions: Mapping[str, Question]
) -> dict[str, bool]:
    """By question that withstands, whether it was attacked again in float32; none where a run does not do so.

    Args:
        threat: that they met.
        model: that answered.
        outcomes: under the threat.
        questions: by id.
    """
    attack = open_threat(threat) if attacked_twice(threat, model) else None
    if not isinstance(attack, Planned):
        return {}
    return {
        one.question: len(one.attempts) > len(planned_runs(attack, questions[one.question], model))
        for one in outcomes
        if one.attacked and one.correct
    }


def in_float32(
    threat: ThreatSpec, model: ModelRecord, outcomes: Sequence[Outcome], questions: Mapping[str, Question]
) -> list[Finding]:
    """How much of what stands met the attack in half precision only; see `second_attacks`."""
    found = second_attacks(threat, model, outcomes, questions)
    if not found:
        return []
    once = sum(not twice for twice in found.values())
    meaning = (
        f"{once} of {len(found)} standing questions were attacked with gradients in {model.dtype} only"
        if once
        else f"all {len(found)} standing questions were attacked again with gradients in float32"
    )
    return [IN_FLOAT32.find(once / len(found), above(once, warn=0, fail=len(outcomes)), meaning)]

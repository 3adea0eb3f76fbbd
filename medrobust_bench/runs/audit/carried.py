"""The audit that every result carries, made of plan and journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.runs.audit.baseline import (
    baselines,
    cut_short,
    format_breaks,
    option_texts,
    positive_control,
    unparsed,
)
from medrobust_bench.runs.audit.blindness import blindness, robust_credit
from medrobust_bench.runs.audit.check import CARLINI, DISCRETE, HERE, Check, above
from medrobust_bench.runs.audit.losses import (
    flat_losses,
    gradients_taken,
    restarts_used,
    rising_losses,
)
from medrobust_bench.runs.audit.precision import in_float32
from medrobust_bench.runs.audit.rivalry import rivals, searches_by_gradient
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Finding, ModelRecord, Outcome
    from medrobust_bench.runs.audit.rivalry import Run

STEADY = Check(
    "clean answers repeat",
    "artefact",
    "Is a clean image answered alike when it is judged a second time?",
    HERE,
)
WITNESSED = Check(
    "every success has a witness", "artefact", "Does every broken answer have its verified 8-bit image?", HERE
)
ROUNDED = Check("rounding loss", "artefact", "How many successes exist in floating point only?", DISCRETE)
FOUND = Check("attack finds something", "optimisation", "Does the attack break any answer at all?", CARLINI)


def carried_audit(
    runs: Sequence[Run],
    questions: Mapping[str, Question],
    *,
    model: ModelRecord,
    texts: Mapping[str, int] | None = None,
) -> list[tuple[Finding, ...]]:
    """The findings about one model under each threat of a run.

    Args:
        runs: threats with their outcomes, one per question and in the same order; "clean" among them.
        questions: by id.
        model: that gave the outcomes.
        texts: the option that the texts alone recommend, by question; None where there is no training split.

    Returns:
        One tuple of findings per threat, in the order of `runs`.
    """
    (clean,) = (outcomes for threat, outcomes in runs if threat.name == CLEAN.name)
    by_question = {outcome.question: outcome for outcome in clean}
    options = {name: len(question.options) for name, question in questions.items()}
    audits: list[tuple[Finding, ...]] = []
    for run in runs:
        threat, outcomes = run
        if threat.name == CLEAN.name:
            found = [steady(clean), unparsed(clean), *cut_short(clean), *baselines(clean, options)]
            found += [] if texts is None else [option_texts(clean, texts)]
            found += blindness(clean)
        elif threat.yields == "certified":
            found = []
        else:
            found = [
                *_of_attack(outcomes, white_box=searches_by_gradient(threat)),
                *in_float32(threat, model, outcomes, questions),
                *rivals(run, [other for other in runs if other is not run]),
            ]
            if searches_by_gradient(threat):
                if threat.norm_ball and any(outcome.attacked for outcome in outcomes):
                    found.append(positive_control(outcomes, options))
                found += robust_credit(outcomes, by_question)
        audits.append(tuple(found))
    return audits


def steady(clean: Sequence[Outcome]) -> Finding:
    """Clean images judged twice: differences of accuracy below the share that changed mean nothing."""
    share = sum(not outcome.steady for outcome in clean) / len(clean)
    verdict = above(share, warn=0.0, fail=0.05)
    meaning = {
        "pass": "every clean image was answered alike twice",
        "warn": f"{share:.1%} of the clean answers changed: differences of accuracy below that mean nothing",
        "fail": f"{share:.1%} of the clean answers changed: the model is random, attack its expectation",
    }[verdict]
    return STEADY.find(share, verdict, meaning)


def _of_attack(outcomes: Sequence[Outcome], *, white_box: bool) -> list[Finding]:
    attacked = [outcome for outcome in outcomes if outcome.attacked]
    if not attacked:
        return []
    attempts = {outcome.question: outcome.attempts for outcome in attacked}
    standing = {outcome.question: outcome.attempts for outcome in attacked if outcome.correct}
    unseen = sum(
        not outcome.correct and outcome.witness_sha256 is None and not outcome.alterations
        for outcome in attacked
    )
    rounded = sum(outcome.rounded_away for outcome in attacked) / len(attacked)
    rounding_verdict = above(rounded, warn=0.1, fail=0.3)
    reading = "" if rounding_verdict == "pass" else ": is the attacked path the deployed one?"
    found = [
        WITNESSED.find(
            unseen,
            above(unseen, warn=0, fail=0),
            f"{unseen} of {len(attacked) - len(standing)} broken answers have no verified 8-bit image",
        ),
        ROUNDED.find(
            rounded,
            rounding_verdict,
            f"{rounded:.1%} of the attacked answers broke in floating point, and held as 8-bit images{reading}",
        ),
        *format_breaks(outcomes),
        *cut_short(outcomes),
    ]
    if white_box:
        nothing = len(standing) == len(attacked)
        found += [
            FOUND.find(
                1 - len(standing) / len(attacked),
                "warn" if nothing else "pass",
                f"it breaks none of {len(attacked)} answers: run `medrobust audit` before this is believed"
                if nothing
                else f"it breaks {len(attacked) - len(standing)} of {len(attacked)} answers",
            ),
            *flat_losses(attempts),
            *rising_losses(standing),
            *restarts_used(attempts),
            *gradients_taken(attacked),
        ]
    return found

"""Optimisation health: would the same attack, given more, have broken more; did it lose what it found?"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING

from medrobust_bench.runs.audit import variation
from medrobust_bench.runs.audit.check import (
    CARLINI,
    INDICATORS,
    Check,
    Skipped,
    above,
    count_verdict,
)
from medrobust_bench.runs.audit.losses import flat_losses, rising_losses
from medrobust_bench.runs.audit.subject import Trial, newly_broken, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Finding
    from medrobust_bench.runs.audit.subject import Subject

ALL_BROKEN = "the attack leaves no question standing"
KEPT = 3
"""Images on an attack's path at which the answer had flipped, kept per question: the last ones."""

MORE_STEPS = Check("twice the steps", "optimisation", "Do twice the steps break more?", CARLINI)
MORE_RESTARTS = Check("more restarts", "optimisation", "Do two more restarts break more?", CARLINI)
OTHER_LOSS = Check(
    "another loss", "optimisation", "Does the margin break what cross-entropy does not?", CARLINI
)
SILENT = Check(
    "nothing thrown away",
    "optimisation",
    "Is an image that broke the answer on the attack's path also the one that it returns?",
    INDICATORS,
)
SINGLE_STEP = Check(
    "iterative beats single step",
    "optimisation",
    "Does one large step break more than many small ones?",
    CARLINI,
)
LARGER = Check("monotone in ε", "optimisation", "Does every larger ε break at least as much?", CARLINI)
UNBOUNDED = Check("unbounded attack", "optimisation", "Does an attack of any size break everything?", CARLINI)


def watched_attack(subject: Subject) -> tuple[list[Trial], Finding]:
    """The attack itself, and whether it returned the successes on its path."""
    seen: dict[str, deque[NDArray[np.float32]]] = {}

    def watch(question: Question, image: torch.Tensor, flipped: bool) -> None:
        if flipped:
            kept = seen.setdefault(question.id, deque(maxlen=KEPT))
            kept.append(image.permute(1, 2, 0).cpu().numpy())

    trials = subject.attack(subject.threat, watch)
    by_id = {trial.question: trial for trial in trials}
    lost = 0
    for group in subject.groups:
        for row, question in enumerate(group.bound.batch.questions):
            if by_id[question.id].broken or question.id not in seen:
                continue
            clean = group.bound.batch.images[row]
            budget = subject.threat.budget(clean.shape[:2], group.seeds[row])
            images = [budget.round(clean, image) for image in seen[question.id]]
            answers = group.bound.select([row] * len(images)).answer(images)
            lost += any(answer.choice != question.answer for answer in answers)
    meaning = (
        f"{lost} questions were broken on the path, and reported as standing: the attack loses its best image"
        if lost
        else "every success on the path is returned"
    )
    return trials, SILENT.find(lost, count_verdict(lost), meaning)


def optimisation_health(
    subject: Subject, trials: Sequence[Trial], tell: Callable[[str], None] = lambda what: None
) -> list[Finding | Skipped]:
    """Variations of the attack against the attack itself.

    Those that can only break more are tried on the questions that it left standing, and not made where there are none.

    Args:
        subject: the model and its attack.
        trials: what the attack achieved.
        tell: told what is about to be done.
    """
    attempts = {trial.question: trial.result.attempts for trial in trials}
    left = [trial for trial in trials if not trial.broken]
    found: list[Finding | Skipped] = [
        *flat_losses(attempts),
        *rising_losses({trial.question: trial.result.attempts for trial in left}),
    ]
    if left:
        found += _more_effort(subject, trials, left, tell)
    else:
        found += [
            Skipped(check.name, ALL_BROKEN) for check in (MORE_STEPS, MORE_RESTARTS, OTHER_LOSS, SINGLE_STEP)
        ]
    tell("the attack at half and twice its size, and without a bound")
    return [*found, *sizes(subject, trials)]


def _more_effort(
    subject: Subject, trials: Sequence[Trial], left: Sequence[Trial], tell: Callable[[str], None]
) -> list[Finding]:
    """Would more of the same, another loss, or a cruder attack have broken what the attack left standing?"""
    spec = subject.threat.spec
    varied: dict[Check, tuple[str, Threat]] = {
        MORE_STEPS: ("twice the steps", variation.longer(subject.threat)),
        MORE_RESTARTS: (
            "two more restarts",
            variation.varied(subject.threat, restarts=dict(spec)["restarts"] + 2),
        ),
        OTHER_LOSS: ("the margin loss", variation.margin(spec)),  # type: ignore[arg-type]
    }
    found = []
    for check, (what, attack) in varied.items():
        tell(f"{what}, on {len(left)} questions left standing")
        found.append(_gain(check, what, len(trials), left, subject.attack(attack, only=left)))
    tell("a single step")
    single = subject.attack(variation.single_step(spec))  # type: ignore[arg-type]
    behind = max(0, len(left) - standing(single))
    meaning = f"a single step leaves {standing(single)} of {len(trials)} standing, the attack {len(left)}"
    return [*found, SINGLE_STEP.find(behind, count_verdict(behind), meaning)]


def sizes(subject: Subject, trials: Sequence[Trial]) -> list[Finding]:
    """The attack at half its size, at twice its size, and without a bound."""
    smaller = subject.attack(variation.resized(subject.threat, Fraction(1, 2)))
    larger = subject.attack(variation.resized(subject.threat, Fraction(2)))
    everything = subject.attack(variation.unbounded(subject.threat))
    fields = dict(subject.threat.spec)
    counts = [standing(some) for some in (smaller, trials, larger)]
    excess = max(0, counts[1] - counts[0], counts[2] - counts[1])
    share = standing(everything) / len(trials)
    verdict = above(share, warn=0.0, fail=0.1)
    reading = "" if verdict == "pass" else ": the attack cannot find what is certainly there"
    if reading and fields["kind"] != "auto":
        reading += f"; see whether auto-{fields['norm']} does"
    return [
        LARGER.find(
            excess,
            count_verdict(excess),
            f"standing at half, whole and twice the ε: {counts[0]}, {counts[1]}, {counts[2]} of {len(trials)}",
        ),
        UNBOUNDED.find(share, verdict, f"{share:.0%} stand when any image is allowed{reading}"),
    ]


def _gain(check: Check, what: str, n: int, left: Sequence[Trial], after: Sequence[Trial]) -> Finding:
    """More effort against the attack: a gain beyond a question or two of n says that it was too weak."""
    gain = newly_broken(left, after)
    share = gain / n
    verdict = "pass" if gain <= 1 else above(share, warn=0.05, fail=0.2)
    reading = "" if verdict == "pass" else ": the attack was too weak"
    return check.find(
        gain, verdict, f"{gain} of {len(left)} questions left standing break by {what}{reading}"
    )

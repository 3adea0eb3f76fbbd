"""Masking: does anything that ignores the gradient do better, is the output random, is the path the deployed one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medrobust_bench.data.image import from_png
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.runs.audit import variation
from medrobust_bench.runs.audit.check import (
    AUTOATTACK,
    CARLINI,
    HERE,
    Check,
    Skipped,
    above,
    count_verdict,
)
from medrobust_bench.runs.audit.optimisation import ALL_BROKEN
from medrobust_bench.runs.audit.subject import standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.records import Finding
    from medrobust_bench.records.witness import AnyWitness
    from medrobust_bench.runs.audit.subject import Subject, Trial

REPETITIONS = 5

UNSTEADY = 0.25
"""Share of answers to noisy images, each of which is a majority of draws, that may change from one time to the next."""

NOISE = Check("beats random noise", "masking", "Does random noise of the same size break more?", CARLINI)
SQUARE = Check(
    "beats random search", "masking", "Does Square Attack, without gradients, break more?", AUTOATTACK
)
TRANSFER = Check(
    "beats transfer",
    "masking",
    "Do images that broke another model of the run break more of this one?",
    CARLINI,
)
FIXED = Check("output is fixed", "masking", "Does the same image score the same five times over?", AUTOATTACK)
SAME_PATH = Check(
    "attacked path is deployed path",
    "masking",
    "Does the differentiable path answer like the deployed one, on clean, noisy and attacked images?",
    HERE,
)


def masking(
    subject: Subject, trials: Sequence[Trial], transferred: Mapping[str, Sequence[AnyWitness]]
) -> list[Finding | Skipped]:
    """Attacks that do not use the model's gradient.

    Args:
        subject: the model and its attack.
        trials: what the attack achieved.
        transferred: witnesses of other models under the same threat, by question.
    """
    spec = subject.threat.spec
    if not standing(trials):
        return [Skipped(check.name, ALL_BROKEN) for check in (NOISE, SQUARE, TRANSFER)]
    found: list[Finding | Skipped] = [_behind(subject, NOISE, variation.noise(spec), trials)]  # type: ignore[arg-type]
    if dict(spec)["norm"] == "linf":
        found.append(_behind(subject, SQUARE, variation.square(spec), trials))  # type: ignore[arg-type]
    else:
        found.append(Skipped(SQUARE.name, "Square Attack works in L∞ only"))
    return [*found, _transfer(subject, trials, transferred)]


def fixed_output(subject: Subject) -> Finding:
    """Scores and answers of the same images, several times over."""
    gaps, changed = [], 0
    for group in subject.groups:
        with torch.no_grad():
            scores = torch.stack([group.bound.scores(group.pixels) for _ in range(REPETITIONS)])
        finite = torch.nan_to_num(scores.double(), neginf=0.0, posinf=0.0)
        gaps.append(float((finite.amax(0) - finite.amin(0)).max()))
        noisy = subject.images_for(group, 1)
        answers = [subject.adapter.bind(group.bound.batch.questions).answer(noisy) for _ in range(2)]
        changed += sum(first != second for first, second in zip(*answers, strict=True))
    half = subject.adapter.record.dtype in ("bfloat16", "float16")
    differs = f"scores differ by up to {max(gaps):.2g}, {changed} answers change"
    draws = subject.adapter.record.draws
    if (
        draws > 1
    ):  # known to be random, and attacked and judged accordingly: what is left is what averages leave
        verdict = above(changed / len(subject.questions), warn=0.0, fail=UNSTEADY)
        return FIXED.find(max(gaps), verdict, f"random, and attacked as the mean of {draws} draws: {differs}")
    verdict = "fail" if changed else above(max(gaps), warn=1e-4, fail=0.1 if half else 1e-3)
    reading = "" if verdict == "pass" else ": attack its expectation, judge repeatedly"
    return FIXED.find(max(gaps), verdict, f"{differs}{reading}")


def same_path(subject: Subject, trials: Sequence[Trial]) -> Finding | Skipped:
    """Where the option of highest score is not the one that the deployed model answers."""
    if subject.generates:
        return Skipped(
            SAME_PATH.name, "answers are generated; see the check of label against generated verdict"
        )
    attacked = {trial.question: trial.result.image for trial in trials}
    apart = asked = 0
    for group in subject.groups:
        returned = [attacked[question.id] for question in group.bound.batch.questions]
        for images in (
            group.bound.batch.images,
            subject.images_for(group, 8),
            subject.images_for(group, 64),
            returned,
        ):
            with torch.no_grad():
                scored = group.bound.scores(to_pixels(images, group.bound.batch.device)).argmax(1).tolist()
            for own, answer in zip(scored, group.bound.answer(images), strict=True):
                asked += 1
                apart += answer.choice is not None and own != answer.choice
    share = apart / asked
    verdict = above(share, warn=0.05, fail=0.1)
    reading = "" if verdict == "pass" else ": the attack sees another model than the deployed one"
    return SAME_PATH.find(share, verdict, f"the two differ on {apart} of {asked} images{reading}")


def _behind(subject: Subject, check: Check, control: Threat, trials: Sequence[Trial]) -> Finding:
    return _compare(check, standing(subject.attack(control)), standing(trials), len(trials))


def _transfer(
    subject: Subject, trials: Sequence[Trial], transferred: Mapping[str, Sequence[AnyWitness]]
) -> Finding | Skipped:
    stands = asked = own = 0
    by_id = {trial.question: trial for trial in trials}
    for group in subject.groups:
        for row, question in enumerate(group.bound.batch.questions):
            images = [from_png(witness.image) for witness in transferred.get(question.id, ())]
            if not images:
                continue
            answers = group.bound.select([row] * len(images)).answer(images)
            asked += 1
            stands += all(answer.choice == question.answer for answer in answers)
            own += not by_id[question.id].broken
    if not asked:
        return Skipped(TRANSFER.name, "the run has no other model whose images could be transferred")
    return _compare(TRANSFER, stands, own, asked)


def _compare(check: Check, control: int, own: int, n: int) -> Finding:
    ahead = max(0, own - control)
    reading = ": the gradient is masked" if ahead else ""
    meaning = f"of {n} questions it leaves {control} standing, the attack {own}{reading}"
    return check.find(ahead, count_verdict(ahead), meaning)

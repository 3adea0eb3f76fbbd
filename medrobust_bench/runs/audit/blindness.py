"""Image blindness: what becomes of the right answers when the image is taken away.

A model that answers from the question alone cannot be attacked through the image; its robust accuracy says
nothing. Robustness counts only for questions whose clean answer depends on the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.runs.audit.check import IMAGE_MATTERS, Check, below
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.records import Finding, Outcome
    from medrobust_bench.records.run import Plan

QUESTIONS = 128
"""Questions of a run that are also asked without their image, at most: three answers each."""

FEWEST = 5
"""With fewer clean right answers nothing can be said."""

REPLACEMENTS = ("blank", "noise", "shuffled")

BLANK = Check("blank image", "blindness", "Do right answers change on a grey image?", IMAGE_MATTERS)
NOISE = Check("noise image", "blindness", "Do right answers change on uniform noise?", IMAGE_MATTERS)
SHUFFLED = Check(
    "shuffled image",
    "blindness",
    "Do right answers change when the pixels of the image are shuffled?",
    IMAGE_MATTERS,
)
DEPENDENCE = Check(
    "image dependence", "blindness", "How many right answers depend on the image at all?", IMAGE_MATTERS
)
CREDIT = Check(
    "robust credit",
    "blindness",
    "How many of the answers counted as robust depend on the image?",
    IMAGE_MATTERS,
)
_BY_REPLACEMENT = dict(zip(REPLACEMENTS, (BLANK, NOISE, SHUFFLED), strict=True))


def sampled_questions(plan: Plan) -> frozenset[str]:
    """The questions of a plan that are asked without their image: a seeded sample, fixed by the plan."""
    ids = [question for chunk in plan.chunks for question in chunk]
    seed = plan.settings.seed
    return frozenset(
        sorted(ids, key=lambda question: question_seed(seed, f"{question}\x1fblind"))[:QUESTIONS]
    )


def replacement(image: NDArray[np.uint8], name: str, seed: int) -> NDArray[np.uint8]:
    """An image of the same shape that does not show what this one shows.

    Args:
        image: uint8 [H, W, 3].
        name: "blank", mid-grey; "noise", every value uniform; "shuffled", its own pixels in random order, so that
            its colours stay.
        seed: the question's.
    """
    draw = np.random.default_rng([seed, REPLACEMENTS.index(name)])
    if name == "blank":
        return np.full_like(image, 128)
    if name == "noise":
        return draw.integers(0, 256, image.shape, dtype=np.uint8)
    return draw.permutation(image.reshape(-1, 3)).reshape(image.shape)


def answers_without_image(bound: BoundQuestions, *, seed: int) -> list[dict[str, int | None]]:
    """What the deployed model answers when each image is replaced.

    Args:
        bound: B questions.
        seed: the run's.

    Returns:
        Per question the option chosen, by name of the replacement.
    """
    seeds = [question_seed(seed, question.id) for question in bound.batch.questions]
    choices: list[dict[str, int | None]] = [{} for _ in seeds]
    for name in REPLACEMENTS:
        images = [
            replacement(image, name, own_seed)
            for image, own_seed in zip(bound.batch.images, seeds, strict=True)
        ]
        for chosen, answer in zip(choices, bound.answer(images), strict=True):
            chosen[name] = answer.choice
    return choices


def depends_on_image(outcome: Outcome) -> bool:
    """Whether a clean right answer changed under any of the replacements."""
    return outcome.blind_choices is not None and any(
        choice != outcome.answer for choice in outcome.blind_choices.values()
    )


def blindness(clean: Iterable[Outcome]) -> list[Finding]:
    """The findings about a model, from the outcomes of its clean images."""
    asked = [outcome for outcome in clean if outcome.correct and outcome.blind_choices is not None]
    if len(asked) < FEWEST:
        return []
    findings = []
    for name in REPLACEMENTS:
        changed = sum((o.blind_choices or {}).get(name) != o.answer for o in asked) / len(asked)
        findings.append(
            _BY_REPLACEMENT[name].find(
                changed,
                below(
                    changed, warn=0.1, fail=-1
                ),  # one replacement alone may keep what the question is about
                f"{changed:.0%} of {len(asked)} right answers are lost with the {name} image",
            )
        )
    dependent = sum(map(depends_on_image, asked)) / len(asked)
    verdict = below(dependent, warn=0.5, fail=0.1)
    meaning = {
        "pass": f"{dependent:.0%} of the right answers are lost without the image",
        "warn": f"only {dependent:.0%} of the right answers need the image: much of the accuracy is language",
        "fail": f"{dependent:.0%} of the right answers need the image: the model ignores it and must not be ranked",
    }[verdict]
    return [*findings, DEPENDENCE.find(dependent, verdict, meaning)]


def robust_credit(outcomes: Sequence[Outcome], clean: Mapping[str, Outcome]) -> list[Finding]:
    """How much of what withstood an attack needed the image in the first place.

    Args:
        outcomes: of one model under one attack.
        clean: of the same model, by question.
    """
    asked = [o for o in outcomes if o.correct and clean[o.question].blind_choices is not None]
    if len(asked) < FEWEST:
        return []
    credited = sum(depends_on_image(clean[outcome.question]) for outcome in asked) / len(asked)
    verdict = below(credited, warn=0.5, fail=0.1)
    lead = f"of {len(asked)} answers that withstood the attack {credited:.0%} depend on the image"
    reading = "" if verdict == "pass" else ": the others are no evidence of robustness"
    return [CREDIT.find(credited, verdict, lead + reading)]

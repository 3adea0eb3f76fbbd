"""Image blindness: what becomes of the right answers when the image is taken away.

A model that answers from the question alone cannot be attacked through the image; its robust accuracy says
nothing. Robustness counts only for questions whose clean answer depends on the image.

Grey, noise and shuffled pixels show nothing, which a model that knows answers by heart can notice, and then answer
otherwise. So a question is also asked about the image of another one, on which one of its wrong options is the right
answer: nothing about that image is unusual, and whoever still gives the old answer has not looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.image import canonical, fitted
from medrobust_bench.runs.audit.check import IMAGE_MATTERS, Check, below
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.records import Finding, Outcome

QUESTIONS = 128
"""Questions of a run that are also asked without their image, at most: three or four answers each."""

FEWEST = 5
"""With fewer clean right answers nothing can be said."""

ANOTHER = "another"
REPLACEMENTS = ("blank", "noise", "shuffled", ANOTHER)

BLANK = Check("blank image", "blindness", "Do right answers change on a grey image?", IMAGE_MATTERS)
NOISE = Check("noise image", "blindness", "Do right answers change on uniform noise?", IMAGE_MATTERS)
SHUFFLED = Check(
    "shuffled image",
    "blindness",
    "Do right answers change when the pixels of the image are shuffled?",
    IMAGE_MATTERS,
)
ANOTHER_IMAGE = Check(
    "another image",
    "blindness",
    "Do right answers change on an image for which another option is right?",
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
_BY_REPLACEMENT = {"blank": BLANK, "noise": NOISE, "shuffled": SHUFFLED}


def sampled_questions(questions: Iterable[str], *, seed: int) -> frozenset[str]:
    """The questions of a run that are asked without their image: a sample that ids and the run's seed fix."""
    order = sorted(questions, key=lambda question: question_seed(seed, f"{question}\x1fblind"))
    return frozenset(order[:QUESTIONS])


def strangers(questions: Iterable[Question], *, seed: int) -> dict[str, Question]:
    """For each question another one, whose image takes the place of its own.

    It is about another image (and patient, where known) of the same modality, asks the same type of question, and its
    right answer is one of the wrong options of the first; which of several is drawn by lot from the seed and the
    question. A question for which there is none has none.

    Args:
        questions: of a run.
        seed: the run's.

    Returns:
        By id of the first.
    """
    by_answer: dict[tuple[str, str, str], list[Question]] = {}
    asked = sorted(questions, key=lambda question: question.id)
    for question in asked:
        by_answer.setdefault(_answered(question, question.answer), []).append(question)
    found = {}
    for question in asked:
        wrong = {_answered(question, k) for k in range(len(question.options))}
        wrong -= {_answered(question, question.answer)}
        others = [
            other
            for key in sorted(wrong)
            for other in by_answer.get(key, ())
            if other.image != question.image and (question.group is None or other.group != question.group)
        ]
        if others:
            lot = question_seed(seed, f"{question.id}\x1f{ANOTHER}")
            found[question.id] = others[lot % len(others)]
    return found


def _answered(question: Question, option: int) -> tuple[str, str, str]:
    text = " ".join(question.options[option].casefold().split()).rstrip(".")
    return question.modality, question.question_type, text


def replacements(
    image: NDArray[np.uint8], seed: int, stranger: Question | None
) -> dict[str, NDArray[np.uint8]]:
    """Images of the same shape that do not show what this one shows, by name.

    Args:
        image: uint8 [H, W, 3], canonical.
        seed: the question's.
        stranger: from `strangers`; None: there is none, and "another" is left out.
    """
    made = {name: replacement(image, name, seed) for name in REPLACEMENTS if name != ANOTHER}
    if stranger is not None:
        made[ANOTHER] = fitted(canonical(stranger.image), image.shape[:2])
    return made


def replacement(image: NDArray[np.uint8], name: str, seed: int) -> NDArray[np.uint8]:
    """An image of the same shape that shows nothing.

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


def answers_without_image(
    bound: BoundQuestions, *, seed: int, others: Mapping[str, Question]
) -> list[dict[str, int | None]]:
    """What the deployed model answers when each image is replaced; generated answers all at once.

    Args:
        bound: B questions.
        seed: the run's.
        others: from `strangers`.

    Returns:
        Per question the option chosen, by name of the replacement.
    """
    images = [
        replacements(image, question_seed(seed, question.id), others.get(question.id))
        for image, question in zip(bound.batch.images, bound.batch.questions, strict=True)
    ]
    asked = [(row, name) for row, made in enumerate(images) for name in REPLACEMENTS if name in made]
    choices: list[dict[str, int | None]] = [{} for _ in images]
    answers = bound.select([row for row, _ in asked]).answer(
        [images[row][name] for row, name in asked], exact=bound.generation is None
    )
    for (row, name), answer in zip(asked, answers, strict=True):
        choices[row][name] = answer.choice
    return choices


def depends_on_image(outcome: Outcome) -> bool:
    """Whether a clean right answer needs the image.

    It changed on another image, where it was asked about one; else on an image that shows nothing.
    """
    choices = outcome.blind_choices or {}
    if ANOTHER in choices:
        return choices[ANOTHER] != outcome.answer
    return any(choice != outcome.answer for choice in choices.values())


def dependent_answers(clean: Iterable[Outcome], asked: Container[str]) -> dict[str, bool]:
    """Whether the clean answer is right and depends on the image, by question that was also asked without it.

    Args:
        clean: outcomes of the clean images.
        asked: the questions that the plan asks without their image where they are answered right, see
            `sampled_questions`.

    Returns:
        Nothing about a question whose answers without the image are not at hand.
    """
    return {
        outcome.question: outcome.correct and depends_on_image(outcome)
        for outcome in clean
        if outcome.question in asked and (outcome.blind_choices is not None or not outcome.correct)
    }


def blindness(clean: Iterable[Outcome]) -> list[Finding]:
    """The findings about a model, from the outcomes of its clean images."""
    asked = [outcome for outcome in clean if outcome.correct and outcome.blind_choices is not None]
    if len(asked) < FEWEST:
        return []
    findings = []
    for name in REPLACEMENTS:
        chosen = [(o, o.blind_choices[name]) for o in asked if name in (o.blind_choices or {})]  # type: ignore[index]
        if not chosen:
            continue
        changed = sum(choice != o.answer for o, choice in chosen) / len(chosen)
        if name == ANOTHER:
            findings.append(_on_another_image(changed, len(chosen)))
            continue
        findings.append(
            _BY_REPLACEMENT[name].find(
                changed,
                below(changed, warn=0.1, fail=-1),  # one of them alone may keep what the question is about
                f"{changed:.0%} of {len(chosen)} right answers are lost with the {name} image",
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


def _on_another_image(changed: float, asked: int) -> Finding:
    verdict = below(changed, warn=0.5, fail=0.1 if asked >= FEWEST else -1)
    lead = f"{changed:.0%} of {asked} right answers are lost with another image"
    reading = {
        "pass": "",
        "warn": ": many are kept whatever the image shows",
        "fail": ": they do not come from the image, and the model must not be ranked",
    }
    return ANOTHER_IMAGE.find(changed, verdict, lead + reading[verdict])


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

"""The question bank: all five OmniMedVQA question types, asked from the phantoms' true parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.phantoms.phantom import BANKS, SPLITS, Phantom
from medrobust_bench.data.phantoms.scene import GRADES, NORMAL, Scene
from medrobust_bench.data.question import Modality, Question, QuestionType
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.phantoms.draws import Draws

NAME = "phantoms"

_OPTION_COUNTS = (2, 3, *(7 * (4,)), 5)  # mostly four; fewer where there are fewer different answers
_MODALITY_QUESTIONS = (
    "What imaging modality was used to take this image?",
    "Which imaging technique is shown in this image?",
    "What type of medical image is this?",
    "How was this image obtained?",
)
_PRESENCE_QUESTIONS = (
    "Does this image show signs of {}?",
    "Is there evidence of {} in this image?",
)


def explanation(modality: Modality, scene: Scene) -> str:
    """What a reader sees: modality, anatomy, finding, grade and attribute, in one or two short sentences."""
    bank = BANKS[modality]
    phrase = bank.attribute_phrase.format(scene.attribute)
    seen = f"{modality.value} of the {scene.anatomy}"
    if scene.finding == NORMAL:
        return f"{seen}{'' if bank.lesion_attribute else ' ' + phrase}. {NORMAL.capitalize()}."
    lesion = f"{scene.grade.capitalize()} {scene.finding}"
    if bank.lesion_attribute:
        return f"{seen}. {lesion} {phrase}."
    return f"{seen} {phrase}. {lesion}."


def _among(rng: Draws, truth: str, choices: Sequence[str], count: int) -> tuple[str, ...]:
    """The truth and up to `count` − 1 other choices, shuffled."""
    others = rng.shuffled([choice for choice in choices if choice != truth])
    return tuple(rng.shuffled([truth, *others[: count - 1]]))


def _ask(phantom: Phantom, scene: Scene, rng: Draws) -> tuple[str, tuple[str, ...], str]:
    """Question text, options, and the right option."""
    bank, kind = BANKS[phantom.modality], phantom.question_type
    count = rng.pick(_OPTION_COUNTS)
    if kind is QuestionType.MODALITY:
        truth = phantom.modality.value
        return rng.pick(_MODALITY_QUESTIONS), _among(rng, truth, [m.value for m in Modality], count), truth
    if kind is QuestionType.ANATOMY:
        choices = bank.anatomies
        return rng.pick(bank.anatomy_questions), _among(rng, scene.anatomy, choices, count), scene.anatomy
    if kind is QuestionType.GRADING:
        return rng.pick(bank.grading_questions), _among(rng, scene.grade, GRADES, count), scene.grade
    if kind is QuestionType.ATTRIBUTES:
        choices = bank.all_attributes
        return (
            rng.pick(bank.attribute_questions),
            _among(rng, scene.attribute, choices, count),
            scene.attribute,
        )
    if (
        count == 2
    ):  # present or not; a normal picture always says no, so the others say yes more often than not
        classes = len(bank.all_findings)
        shown = scene.finding != NORMAL and rng.random() < 0.5 * classes / (classes - 1)
        absent = [name for name in bank.findings[scene.anatomy] if name != scene.finding]
        asked = scene.finding if shown else rng.pick(absent)
        truth = "Yes" if shown else "No"
        return rng.pick(_PRESENCE_QUESTIONS).format(asked), _among(rng, truth, ("Yes", "No"), 2), truth
    return (
        rng.pick(bank.diagnosis_questions),
        _among(rng, scene.finding, bank.all_findings, count),
        scene.finding,
    )


def phantom_question(phantom: Phantom) -> Question:
    """The one question that is asked about a phantom."""
    scene = phantom.scene()
    text, options, truth = _ask(phantom, scene, phantom.draws("question"))
    return Question(
        id=phantom.name,
        image=phantom,
        text=text,
        options=options,
        answer=options.index(truth),
        modality=phantom.modality,
        question_type=phantom.question_type,
        dataset=NAME,
        explanation=explanation(phantom.modality, scene),
    )


def phantom_questions(split: str = "test", *, per_modality: int = 100, seed: int = 0) -> tuple[Question, ...]:
    """Questions about synthetic pictures, one per picture, balanced over modalities and question types.

    Args:
        split: "train", "validation" or "test".
        per_modality: questions per modality; the first n are the same whatever the number.
        seed: seed of the whole suite.

    Raises:
        InvalidInputError: no such split, or a number below one.
    """
    problems = []
    if split not in SPLITS:
        problems.append(
            Problem("split", f"phantoms have no split {split!r}", f"use one of {', '.join(SPLITS)}")
        )
    if per_modality < 1:
        problems.append(
            Problem("per_modality", f"{per_modality} questions per modality", "ask for at least 1")
        )
    if problems:
        raise InvalidInputError(problems)
    return tuple(
        phantom_question(Phantom(modality, index, split, seed))
        for modality in Modality
        for index in range(per_modality)
    )


def open_phantoms(split: str = "test", *, per_modality: int = 100, seed: int = 0) -> Dataset:
    """The synthetic suite as a data set; arguments and errors as `phantom_questions`."""
    return Dataset(
        NAME, split, phantom_questions(split, per_modality=per_modality, seed=seed), synthetic=True
    )

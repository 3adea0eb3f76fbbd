"""The question bank: all five OmniMedVQA question types, asked from the phantoms' true parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.phantoms.phantom import BANKS, SPLITS, Phantom
from medrobust_bench.data.phantoms.scene import GRADES, NORMAL, Bank, Scene
from medrobust_bench.data.question import Question
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.specs.vocabulary import QuestionType

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


def explanation(modality: str, scene: Scene) -> str:
    """What a reader sees: modality, anatomy, finding, grade and attribute, in one or two short sentences."""
    bank = BANKS[modality]
    phrase = bank.attribute_phrase.format(scene.attribute)
    seen = f"{modality} of the {scene.anatomy}"
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
    bank, count = BANKS[phantom.modality], rng.pick(_OPTION_COUNTS)
    if phantom.question_type == QuestionType.DIAGNOSIS and count == 2:
        return _ask_presence(bank, scene, rng)
    texts, truth, choices = {
        QuestionType.MODALITY: (_MODALITY_QUESTIONS, phantom.modality, tuple(BANKS)),
        QuestionType.ANATOMY: (bank.anatomy_questions, scene.anatomy, bank.anatomies),
        QuestionType.DIAGNOSIS: (bank.diagnosis_questions, scene.finding, bank.all_findings),
        QuestionType.GRADING: (bank.grading_questions, scene.grade, GRADES),
        QuestionType.ATTRIBUTES: (bank.attribute_questions, scene.attribute, bank.all_attributes),
    }[phantom.question_type]
    return rng.pick(texts), _among(rng, truth, choices, count), truth


def _ask_presence(bank: Bank, scene: Scene, rng: Draws) -> tuple[str, tuple[str, ...], str]:
    """Whether a finding that this anatomy can have is present: yes in half of the questions.

    A normal picture always says no, so the others say yes more often than not.
    """
    classes = len(bank.all_findings)
    shown = scene.finding != NORMAL and rng.random() < 0.5 * classes / (classes - 1)
    absent = [name for name in bank.findings[scene.anatomy] if name != scene.finding]
    asked = scene.finding if shown else rng.pick(absent)
    text = rng.pick(_PRESENCE_QUESTIONS).format(asked)
    return text, _among(rng, "Yes" if shown else "No", ("Yes", "No"), 2), "Yes" if shown else "No"


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
        for modality in BANKS
        for index in range(per_modality)
    )


def open_phantoms(split: str = "test", *, per_modality: int = 100, seed: int = 0) -> Dataset:
    """The phantoms as a data set; arguments and errors as `phantom_questions`."""
    return Dataset(
        NAME, split, phantom_questions(split, per_modality=per_modality, seed=seed), synthetic=True
    )

"""The questions and the checkpoint that a recipe names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.problems import InvalidInputError, Problem, printable
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.examples import UNFIT_REMEDY, why_unusable
from medrobust_bench.train.settings import SKIPPED_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transformers import ProcessorMixin

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.train.settings import TrainingData

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
SKIPPED_SHARE, SKIPPED_AT_LEAST = 0.1, 10
"""A training stops where more of its questions than this share cannot be used, and they are no fewer than so many."""
SKIPPED_SHOWN = 5
ADAPTER_FILE = "adapter_config.json"


def training_questions(
    data: TrainingData, report: Callable[[str], None] = lambda line: None
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Training and validation questions, disjoint by image from each other and from what `medrobust run` asks.

    Of a data set they are the official splits, whatever the seed: another one would train on test images. Of its
    validation split a part is taken that is balanced over modalities, the same in every training. Where its publisher
    made no validation split, an eighth of the training images or groups is set aside (`data.source.set_aside`).

    Args:
        data: where they are, and how many.
        report: told what was set aside.

    Raises:
        InvalidInputError: the data set cannot be read, or has no training questions.
    """
    if data.source == "phantoms":
        from medrobust_bench.data.phantoms import phantom_questions

        return (
            phantom_questions("train", per_modality=data.per_modality, seed=data.seed),
            phantom_questions("validation", per_modality=data.validation_per_modality, seed=data.seed),
        )
    from medrobust_bench.data.source import open_data, read_source, sample, set_aside

    images = None if data.images is None else Path(data.images)
    train = open_data(data.source, split="train", images=images)
    published = read_source(data.source, split="validation", images=images)
    if any(row.split in (None, "validation") for row in published.questions):
        validation = open_data(data.source, split="validation", images=images)
    else:
        train, validation = set_aside(train, near=published.near)
        report(
            f"{train.name} has no validation split: {len(validation.questions)} of its training questions are set "
            "aside, by patient where known and else by image"
        )
    modalities = len({question.modality for question in validation.questions})
    part = sample(validation, max(1, data.validation_per_modality * modalities))
    return train.questions, part.questions


def usable_questions(
    questions: Sequence[Question], processor: ProcessorMixin, mode: AnswerMode
) -> tuple[tuple[Question, ...], dict[str, str]]:
    """The questions that a processor can take, and by id why it cannot take the others.

    Raises:
        InvalidInputError: it can take none of them.
    """
    reasons = {question.id: why_unusable(processor, question, mode) for question in questions}
    kept = tuple(question for question in questions if reasons[question.id] is None)
    unusable = {id: reason for id, reason in reasons.items() if reason is not None}
    if unusable and not kept:
        what = f"none of {len(questions)} questions can be used: {next(iter(unusable.values()))}"
        raise InvalidInputError([Problem("data", what, UNFIT_REMEDY)])
    return kept, unusable


class SkippedQuestions:
    """The record of questions that a model in training cannot be shown: each costs one question.

    Args:
        out: folder of the checkpoint; the record is a file beside the weights, absent where there is nothing to say.
        report: takes a line about each of the first few.
        process: rank of this process; every process keeps a file of its own.
    """

    def __init__(self, out: Path, report: Callable[[str], None], *, process: int = 0) -> None:
        name = SKIPPED_FILE if process == 0 else SKIPPED_FILE.replace(".", f"-{process}.")
        self._log = StepLog(out / name)
        self._report = report
        self._known: set[str] = set()
        self._asked = self._lost = 0

    def begin(self, step: int) -> None:
        """Go on with the record after an optimiser step; what a resumed training repeats is dropped."""
        self._log.begin(step)
        self._known = {entry["question"] for entry in self._log.entries()}

    def add(self, reasons: Mapping[str, str], *, step: int, asked: int) -> None:
        """Record why questions could not be used.

        Args:
            reasons: by question id.
            step: the optimiser step that they were for; 0 for validation questions.
            asked: how many questions there were in all.

        Raises:
            InvalidInputError: more than `SKIPPED_SHARE` of what was asked so far could not be used.
        """
        for id in reasons.keys() - self._known:
            self._known.add(id)
            self._log.add({"step": step, "question": id, "reason": reasons[id]})
            if len(self._known) <= SKIPPED_SHOWN:
                self._report(f"skipped {printable(id)}: {reasons[id]}")
        self._asked += asked
        self._lost += len(reasons)
        if self._lost >= SKIPPED_AT_LEAST and self._lost > SKIPPED_SHARE * self._asked:
            what = f"{self._lost} of {self._asked} questions could not be used; see {self._log.path}"
            raise InvalidInputError([Problem("data", what, UNFIT_REMEDY)])


def checkpoint_path(name: str) -> str:
    """Where a base checkpoint lies: a shipped one by name, a local folder, or else a hub id as it is.

    Raises:
        InvalidInputError: the name is a path that holds no checkpoint, or nothing but adapters of one.
    """
    shipped = CHECKPOINTS / name
    if (shipped / "config.json").is_file():
        return str(shipped)
    folder = Path(name)
    if (folder / "config.json").is_file():
        return str(folder)
    if (folder / ADAPTER_FILE).is_file():
        raise InvalidInputError([_adapter_problem(folder)])
    if folder.exists() or name.startswith((".", "/")) or name.count("/") != 1:
        available = (
            ", ".join(sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))) or "none yet"
        )
        remedy = f"give a folder with a config.json, a hub id, or a shipped checkpoint ({available})"
        raise InvalidInputError([Problem(name, "not a checkpoint", remedy)])
    return name


def _adapter_problem(folder: Path) -> Problem:
    try:
        base = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, LookupError, TypeError):
        base = None
    onto = f"AutoModelForImageTextToText.from_pretrained({base or 'its base'!r})"
    remedy = (
        f"merge it first, in Python: peft.PeftModel.from_pretrained({onto}, {str(folder)!r}).merge_and_unload()"
        ".save_pretrained(FOLDER); save the base's processor there too and give FOLDER"
    )
    return Problem(str(folder), "is a LoRA adapter, not a whole model", remedy)

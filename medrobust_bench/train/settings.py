"""What a training recipe may say."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.architecture import TinyArchitecture

RECIPES = Path(__file__).parent / "recipes"

# What stands beside the weights of a trained checkpoint.
CURVE_FILE, RECIPE_FILE = "training.jsonl", "recipe.yaml"


class TrainingData(BaseModel):
    """Which questions are trained on.

    Attributes:
        source: "phantoms", or the path of a data set.
        per_modality: phantoms only: training questions per modality.
        validation_per_modality: phantoms only: validation questions per modality.
        seed: seed of the phantoms, or of the split of a data set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = "phantoms"
    per_modality: int = Field(default=1000, ge=1)
    validation_per_modality: int = Field(default=25, ge=1)
    seed: int = Field(default=0, ge=0)


class Task(StrEnum):
    """What one training example asks for.

    `DESCRIBE`: say what the image shows; no question, no options.
    `REASON`: `<think>what is seen, the answer in words, B.</think><answer>B</answer>`.
    `DIRECT`: `<think></think><answer>B</answer>`, the rationale left empty.
    `LETTER`: the letter alone.
    `READ`, `READ_DIRECT`: as `REASON` and `DIRECT`, but the description is given in words in place of the image. What
        there is to learn about options and letters is learnt sooner where nothing is left to guess, and cheaper.
    `MATCH`: nothing but the options, which are then named in random order, each with its letter: several lookups in
        every example, where a question has one.
    """

    DESCRIBE = "describe"
    REASON = "reason"
    DIRECT = "direct"
    LETTER = "letter"
    READ = "read"
    READ_DIRECT = "read-direct"
    MATCH = "match"


class Stage(BaseModel):
    """A part of the training.

    Attributes:
        steps: optimiser steps.
        tasks: shares of the tasks, drawn anew for every question; they are scaled to sum to one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    tasks: Annotated[dict[Task, Annotated[float, Field(gt=0)]], Field(min_length=1)]


class SftSettings(BaseModel):
    """A recipe of supervised fine-tuning.

    Attributes:
        base: checkpoint to start from: a folder, a hub id or the name of a shipped checkpoint; None starts from
            `architecture` with random weights and learns a tokenizer from the training texts.
        mode: how the trained model will be asked, and is asked on the validation questions.
        stages: one after the other, under a single learning-rate schedule.
        batch_size: questions per step.
        learning_rate: its peak; it rises linearly for `warmup_steps` and then falls to a tenth along a cosine.
        clip_norm: largest norm of the gradient.
        answer_weight: weight of the letters in the loss; they are one or two tokens in thirty and are learnt long after
            the rest if they count no more.
        evaluate_every: steps between two measurements of the validation accuracy.
        workers: processes that load images; 0 loads them in the main process.
        threads: CPU threads of torch; None leaves its default.
        seed: seed of the weights, of the order of the questions and of the choice of tasks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str | None = None
    architecture: TinyArchitecture | None = None
    mode: AnswerMode
    data: TrainingData = TrainingData()
    stages: tuple[Stage, ...]
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    answer_weight: float = Field(default=1.0, gt=0)
    evaluate_every: int = Field(default=200, ge=1)
    workers: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> SftSettings:
        if (self.base is None) == (self.architecture is None):
            raise ValueError("give either base (a checkpoint) or architecture (random weights)")
        if not self.stages:
            raise ValueError("give at least one stage")
        if self.mode is AnswerMode.OPTION_TEXT:
            raise ValueError(
                "mode must be letter or reasoning; option-text is a way to score an untrained model"
            )
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


def shipped_recipes() -> dict[str, Path]:
    """The recipes of the shipped checkpoints by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def read_recipe(recipe: str) -> SftSettings:
    """Read a recipe: the path of a YAML file, or the name of a shipped one.

    Raises:
        InvalidInputError: no such recipe, not YAML, unknown or impossible settings; all of them together.
    """
    shipped = shipped_recipes()
    path = shipped.get(recipe, Path(recipe))
    if not path.is_file():
        remedy = f"give a YAML file or one of: {', '.join(shipped)}"
        raise InvalidInputError([Problem(recipe, "there is no such recipe", remedy)])
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidInputError(
            [Problem(str(path), f"not valid YAML: {error}", "correct the file")]
        ) from error
    try:
        return SftSettings.model_validate(content)
    except ValidationError as error:
        raise InvalidInputError(
            [
                Problem(
                    f"{path}: {'.'.join(map(str, item['loc'])) or 'recipe'}",
                    item["msg"],
                    "see docs/training.md for the settings",
                )
                for item in error.errors()
            ]
        ) from error

"""What a training recipe may say."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.specs.exact import Exact
from medrobust_bench.specs.norm_ball import Norm
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.train.architecture import TinyArchitecture
from medrobust_bench.train.augmentation import AugmentationSettings
from medrobust_bench.train.lora import LoraSettings
from medrobust_bench.train.mixture import MixtureSettings
from medrobust_bench.train.tasks import FORMATS, Task

# What stands beside the weights of a trained checkpoint.
CURVE_FILE, RECIPE_FILE, SKIPPED_FILE = "training.jsonl", "recipe.yaml", "skipped.jsonl"

# Arguments of the Trainer that follow from other settings of a recipe.
DERIVED_ARGUMENTS = frozenset(
    {
        "dataloader_num_workers",
        "eval_strategy",
        "gradient_accumulation_steps",
        "label_names",
        "learning_rate",
        "logging_steps",
        "max_grad_norm",
        "max_steps",
        "num_train_epochs",
        "output_dir",
        "per_device_train_batch_size",
        "remove_unused_columns",
        "save_steps",
        "seed",
        "warmup_steps",
        "weight_decay",
    }
)


class TrainingData(BaseModel):
    """Which questions are trained on.

    Attributes:
        source: "phantoms", or any other data set that `medrobust run --data` takes.
        images: the folder of its images, where it is not found.
        per_modality: phantoms only: training questions per modality; of a data set, all are trained on.
        validation_per_modality: validation questions per modality; of a data set, a balanced part of its validation
            split, for every measurement of a training asks them all.
        seed: phantoms only: seed of the pictures. The split of a data set is the official one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = "phantoms"
    images: str | None = None
    per_modality: int = Field(default=1000, ge=1)
    validation_per_modality: int = Field(default=25, ge=1)
    seed: int = Field(default=0, ge=0)


class AttackSettings(BaseModel):
    """The inner maximisation: PGD on the canonical image (Madry et al. 2018), one change per prompt.

    Attributes:
        norm: "linf" or "l2".
        eps: radius, as a threat specification states it: pixels in [0, 1], in L2 for a 32 × 32 image; 0 leaves
            every image clean.
        steps: gradient steps from a uniformly random start.
        step_size: length of a step; 2.5·eps/steps unless given. It shrinks with eps during the warm-up.
        loss: what is ascended, always with the reference answer in the place of the model's: "completion" is the
            negative log-likelihood of all that the model writes on the clean image, rationale and letter, which
            is what the official `pgd-linf` ascends; "words" that of the first tokens that would differ had it meant
            another option: the answer in words where the rationale names it, else the letter; "letter" that of the
            letter, after that rationale. A letter model writes nothing else, so that the three are one.
        warmup_steps: eps rises linearly over this many optimiser steps. Images have 8 bits: in L∞ it rises in whole
            grey levels.
        start_eps: the radius that it rises from. With 0 the first grey level is reached after warmup_steps/levels
            steps; with 1/255 images are attacked from the first step on.
        clean_share: share of the prompts, drawn anew at every step, that are left clean.
        batch_size: prompts per forward and backward pass.
        mixture: threats beside the ball, of all of which each prompt meets the worst; None for the ball alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: Norm = "linf"
    eps: Exact = Fraction(8, 255)
    steps: int = Field(default=3, ge=1)
    step_size: Exact | None = None
    loss: Literal["completion", "words", "letter"] = "completion"
    warmup_steps: int = Field(default=0, ge=0)
    start_eps: Exact = Fraction(0)
    clean_share: float = Field(default=0.0, ge=0, le=1)
    batch_size: int = Field(default=64, ge=1)
    mixture: MixtureSettings | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.eps < 0:
            raise ValueError("eps must not be negative")
        if self.mixture is not None and self.eps == 0:
            raise ValueError("a mixture needs eps above 0; drop mixture, or give eps")
        if not 0 <= self.start_eps <= self.eps:
            raise ValueError("start_eps must lie between 0 and eps")
        if self.start_eps and not self.warmup_steps:
            raise ValueError("start_eps needs warmup_steps, over which eps rises from it")
        if self.eps > 0:
            self._spec(Fraction(1))
        return self

    def at(self, step: int) -> PgdSpec | None:
        """The attack at a zero-based optimiser step; None where eps is 0."""
        if self.eps == 0:
            return None
        risen = min(Fraction(1), Fraction(step + 1, max(1, self.warmup_steps)))
        start = self.start_eps / self.eps
        return self._spec(start + (1 - start) * risen)

    def _spec(self, share: Fraction) -> PgdSpec:
        step_size = self.step_size if self.step_size is None else self.step_size * share
        return PgdSpec.model_validate(
            {
                "name": "inner",
                "kind": "pgd",
                "norm": self.norm,
                "eps": self.eps * share,
                "steps": self.steps,
                "step_size": step_size,
            }
        )


class NoiseSettings(BaseModel):
    """Gaussian noise on training images, for models that are smoothed afterwards (Cohen et al. 2019, section 4).

    It is added after the attack, then the image is rounded to 8 bits.

    Attributes:
        sigma: standard deviation, pixels in [0, 1].
        share: share of the prompts that get it, drawn anew at every step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma: float = Field(gt=0)
    share: float = Field(default=1.0, gt=0, le=1)


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
    """A recipe of supervised fine-tuning, on the images as they are or on attacked ones.

    Attributes:
        base: checkpoint to start from: a folder, a hub id or the name of a shipped checkpoint; None starts from
            `architecture` with random weights and learns a tokenizer from the training texts.
        mode: how the trained model will be asked, and is asked on the validation questions.
        attack: the inner attack of adversarial fine-tuning, which ascends the negative log-likelihood of the completion
            that is taught; None for plain fine-tuning.
        noise: Gaussian augmentation; None for none.
        augmentation: other changes of the images that leave the answer as it is; None for none.
        exchange: share of the questions asked about an image drawn evenly over their answers, see `Exchange`: the term
            that pays for answers which change with the image.
        processor: further arguments of the base's processor, as they are, e.g. `{max_pixels: 401408}`; they are saved
            with it.
        stages: one after the other, under a single learning-rate schedule.
        lora: low-rank adapters; None trains all weights.
        batch_size: questions per optimiser step, of all processes together.
        micro_batch: questions per forward and backward pass of a process; None for all that it has in a step.
        learning_rate: its peak; it rises linearly for `warmup_steps` and then falls along a cosine.
        final_rate: what it falls to, as a share of the peak.
        clip_norm: largest norm of the gradient.
        answer_weight: weight of the letters in the loss; they are one or two tokens in thirty and are learnt long after
            the rest if they count no more.
        evaluate_every: steps between two measurements of the validation accuracy.
        save_every: steps between two checkpoints to resume from; None takes `evaluate_every`.
        log_every: steps between two lines of the log.
        workers: processes that load images; 0 loads them in the main process.
        threads: CPU threads of torch; None leaves its default.
        seed: seed of the weights, of the order of the questions and of the choice of tasks.
        trainer: further arguments of transformers' `TrainingArguments`, as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str | None = None
    architecture: TinyArchitecture | None = None
    mode: AnswerMode
    data: TrainingData = TrainingData()
    attack: AttackSettings | None = None
    noise: NoiseSettings | None = None
    augmentation: AugmentationSettings | None = None
    exchange: float = Field(default=0.0, ge=0, le=1, strict=True)
    processor: dict[str, Any] = Field(default_factory=dict)
    lora: LoraSettings | None = None
    stages: tuple[Stage, ...]
    batch_size: int = Field(default=32, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    final_rate: float = Field(default=0.1, ge=0, le=1)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    answer_weight: float = Field(default=1.0, gt=0)
    evaluate_every: int = Field(default=200, ge=1)
    save_every: int | None = Field(default=None, ge=1)
    log_every: int = Field(default=20, ge=1)
    workers: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    trainer: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.base is None) == (self.architecture is None):
            raise ValueError("give either base (a checkpoint) or architecture (random weights)")
        if self.processor and self.base is None:
            raise ValueError("processor is about that of base; a new architecture has sizes of its own")
        if not self.stages:
            raise ValueError("give at least one stage")
        if self.mode not in FORMATS:
            why = f"{self.mode.value} is a way to ask a model that was not trained here"
            raise ValueError(f"mode must be {' or '.join(FORMATS)}; {why}")
        derived = sorted(DERIVED_ARGUMENTS & self.trainer.keys())
        if derived:
            raise ValueError(
                f"trainer may not hold {', '.join(derived)}: they follow from the other settings"
            )
        return self

    @model_validator(mode="after")
    def _can_be_attacked(self) -> Self:
        wanted = {*FORMATS[self.mode].tasks, Task.DESCRIBE}
        other = sorted({task for stage in self.stages for task in stage.tasks} - wanted)
        if self.attack is not None and other:
            names = " and ".join(sorted(wanted))
            raise ValueError(
                f"tasks of a {self.mode.value} model under attack are {names}, not {', '.join(other)}"
            )
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

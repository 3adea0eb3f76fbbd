"""What a recipe of adversarial or reinforcement training may say."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.threats.ball import Norm, PgdSpec
from medrobust_bench.threats.exact import Exact
from medrobust_bench.train.recipe import read_settings
from medrobust_bench.train.settings import SftSettings, Task, TrainingData

# Arguments of TRL's GRPOConfig that follow from other settings of a recipe.
DERIVED_ARGUMENTS = frozenset(
    {
        "beta",
        "gradient_accumulation_steps",
        "learning_rate",
        "logging_steps",
        "max_completion_length",
        "max_steps",
        "num_generations",
        "output_dir",
        "per_device_train_batch_size",
        "remove_unused_columns",
        "reward_weights",
        "save_steps",
        "seed",
        "temperature",
        "warmup_steps",
    }
)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttackSettings(_Settings):
    """The inner maximisation: PGD on the canonical image (Madry et al. 2018), one change per prompt.

    Attributes:
        norm: "linf" or "l2".
        eps: radius, as a threat specification states it: pixels in [0, 1], in L2 for a 32 × 32 image; 0 leaves
            every image clean.
        steps: gradient steps from a uniformly random start.
        step_size: length of a step; 2.5·eps/steps unless given. It shrinks with eps during the warm-up.
        loss: what is ascended, always with the reference answer in the place of the model's: "completion" is the
            negative log-likelihood of all that the model writes on the clean image, rationale and letter, which
            is what the official attacks ascend; "answer" that of the letter alone, after that rationale. A letter
            model writes nothing else, so that the two are one.
        warmup_steps: eps rises linearly over this many optimiser steps. Images have 8 bits: in L∞ it rises in whole
            grey levels.
        clean_share: share of the prompts, drawn anew at every step, that are left clean.
        batch_size: prompts per forward and backward pass.
    """

    norm: Norm = "linf"
    eps: Exact = Fraction(8, 255)
    steps: int = Field(default=3, ge=1)
    step_size: Exact | None = None
    loss: Literal["completion", "answer"] = "completion"
    warmup_steps: int = Field(default=0, ge=0)
    clean_share: float = Field(default=0.0, ge=0, le=1)
    batch_size: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.eps < 0:
            raise ValueError("eps must not be negative")
        if self.eps > 0:
            self._spec(Fraction(1))
        return self

    def at(self, step: int) -> PgdSpec | None:
        """The attack at a zero-based optimiser step; None where eps is 0."""
        if self.eps == 0:
            return None
        return self._spec(min(Fraction(1), Fraction(step + 1, max(1, self.warmup_steps))))

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


class NoiseSettings(_Settings):
    """Gaussian noise on training images, for models that are smoothed afterwards (Cohen et al. 2019, section 4).

    It is added after the attack, then the image is rounded to 8 bits.

    Attributes:
        sigma: standard deviation, pixels in [0, 1].
        share: share of the prompts that get it, drawn anew at every step.
    """

    sigma: float = Field(gt=0)
    share: float = Field(default=1.0, gt=0, le=1)


class RewardWeights(_Settings):
    """Weights of the rewards (see `medrobust_bench.train.rewards`).

    Attributes:
        correctness: of the right letter, strictly parsed.
        strict_format: of a completion that can be parsed.
        consistency: of a rationale that affirms the option that the answer names.
        agreement: of the answer that the model gives on the clean image.
    """

    correctness: float = Field(default=1.0, ge=0)
    strict_format: float = Field(default=0.2, ge=0)
    consistency: float = Field(default=0.0, ge=0)
    agreement: float = Field(default=0.0, ge=0)


class LoraSettings(_Settings):
    """Low-rank adapters by peft instead of training all weights.

    Attributes:
        rank: of the update.
        alpha: its scale; the update counts alpha/rank times.
        dropout: on the adapters' input.
        target_modules: a regular expression of module names, a list of names, or "all-linear".
    """

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"


class RlSettings(_Settings):
    """A recipe of GRPO or adversarial GRPO.

    Attributes:
        base: checkpoint to start from: a folder, a hub id or the name of a shipped checkpoint.
        mode: `reasoning`, or `letter` for a model that answers with the letter alone.
        data: the questions.
        attack: the inner attack; None for plain GRPO.
        noise: Gaussian augmentation; None for none.
        rewards: weights of the rewards.
        steps: optimiser steps.
        prompts: prompts per optimiser step and process.
        group: rollouts of a prompt; they all see the same image.
        micro_batch: rollouts per forward and backward pass; None for all of a step.
        max_new_tokens: length limit of a completion.
        temperature: of the sampling; TRL divides the trained logits by it too.
        learning_rate: its peak.
        warmup_steps: of the learning rate.
        kl: weight of the KL divergence from the base model (TRL's beta).
        lora: low-rank adapters; None trains all weights.
        validate_every: optimiser steps between two measurements of clean and attacked validation accuracy; 0 for none.
        save_every: optimiser steps between two checkpoints to resume from.
        log_every: optimiser steps between two lines of the log.
        threads: CPU threads of torch; None leaves its default.
        seed: of everything that is drawn.
        trl: further arguments of TRL's `GRPOConfig`, as they are.
    """

    base: str
    mode: AnswerMode = AnswerMode.REASONING
    data: TrainingData = TrainingData()
    attack: AttackSettings | None = None
    noise: NoiseSettings | None = None
    rewards: RewardWeights = RewardWeights()
    steps: int = Field(ge=1)
    prompts: int = Field(default=16, ge=1)
    group: int = Field(default=8, ge=2)
    micro_batch: int | None = Field(default=None, ge=1)
    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=1e-5, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    kl: float = Field(default=0.0, ge=0)
    lora: LoraSettings | None = None
    validate_every: int = Field(default=0, ge=0)
    save_every: int = Field(default=100, ge=1)
    log_every: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    trl: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mode is AnswerMode.OPTION_TEXT:
            raise ValueError("mode must be letter or reasoning; option-text generates nothing to be rewarded")
        if self.micro_batch is not None and self.rollouts % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide prompts × group = {self.rollouts} rollouts"
            )
        if self.mode is AnswerMode.LETTER and self.rewards.consistency:
            raise ValueError(
                "a letter model has no rationale to be consistent with; drop rewards.consistency"
            )
        if self.rewards.agreement and (self.attack is None or self.attack.eps == 0):
            raise ValueError("rewards.agreement compares clean and attacked answers; it needs an attack")
        derived = sorted(DERIVED_ARGUMENTS & self.trl.keys())
        if derived:
            raise ValueError(f"trl may not hold {', '.join(derived)}: they follow from the other settings")
        return self

    @property
    def rollouts(self) -> int:
        """Completions per optimiser step and process."""
        return self.prompts * self.group

    @property
    def accumulation(self) -> int:
        """Forward and backward passes per optimiser step."""
        return self.rollouts // (self.micro_batch or self.rollouts)

    def without_attack(self) -> RlSettings:
        """The same recipe as plain GRPO: the baseline with the same base, data and budget."""
        rewards = self.rewards.model_copy(update={"agreement": 0.0})
        return self.model_copy(update={"attack": None, "noise": None, "rewards": rewards})


class AtSftSettings(SftSettings):
    """A recipe of adversarial fine-tuning: supervised, on images that an inner attack has changed.

    Attributes:
        attack: the inner attack; it ascends the likelihood of the completion that is taught.
        noise: Gaussian augmentation; None for none.
    """

    base: str
    attack: AttackSettings
    noise: NoiseSettings | None = None

    @model_validator(mode="after")
    def _can_be_attacked(self) -> Self:
        wanted = {Task.LETTER} if self.mode is AnswerMode.LETTER else {Task.REASON, Task.DIRECT}
        other = sorted({task for stage in self.stages for task in stage.tasks} - wanted)
        if other:
            names = " and ".join(sorted(wanted))
            raise ValueError(
                f"tasks of a {self.mode.value} model under attack are {names}, not {', '.join(other)}"
            )
        return self


def read_rl_recipe(recipe: str, **overrides: object) -> RlSettings:
    """Read a recipe of `medrobust train at-grpo`; see `recipe.read_settings`."""
    return read_settings(recipe, RlSettings, kind="rl", overrides=overrides, see="docs/at_grpo.md")


def read_at_sft_recipe(recipe: str, **overrides: object) -> AtSftSettings:
    """Read a recipe of `medrobust train at-sft`; see `recipe.read_settings`."""
    return read_settings(recipe, AtSftSettings, kind="at_sft", overrides=overrides, see="docs/at_grpo.md")

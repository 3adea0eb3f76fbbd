"""What a recipe of reinforcement training, plain or adversarial, may say."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.augmentation import AugmentationSettings
from medrobust_bench.train.lora import LoraSettings
from medrobust_bench.train.settings import AttackSettings, NoiseSettings, TrainingData
from medrobust_bench.train.tasks import FORMATS

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


class RewardWeights(_Settings):
    """Weights of the rewards (see `medrobust_bench.train.rewards`).

    Attributes:
        correctness: of the right letter, strictly parsed.
        strict_format: of a completion that can be parsed.
        consistency: of a rationale that affirms the option that the answer names.
        agreement: of the answer that the model gives on the clean image.
        dependence: of the right answer, where the model's own answer to the same question about a stranger's image is
            another one.
    """

    correctness: float = Field(default=1.0, ge=0)
    strict_format: float = Field(default=0.2, ge=0)
    consistency: float = Field(default=0.0, ge=0)
    agreement: float = Field(default=0.0, ge=0)
    dependence: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("nothing is rewarded; give at least one reward a weight above 0")
        return self


class RlSettings(_Settings):
    """A recipe of GRPO or adversarial GRPO.

    Attributes:
        base: checkpoint to start from: a folder, a hub id or the name of a shipped checkpoint.
        mode: `reasoning`, or `letter` for a model that answers with the letter alone.
        data: the questions.
        attack: the inner attack; None for plain GRPO.
        noise: Gaussian augmentation; None for none.
        augmentation: other changes of the images that leave the answer as it is; None for none.
        exchange: share of the prompts asked about an image drawn evenly over their answers, see `Exchange`.
        processor: further arguments of the base's processor, as they are; they are saved with it.
        rewards: weights of the rewards.
        steps: optimiser steps.
        prompts: prompts per optimiser step and process that are trained on.
        oversample: so many times the prompts are rolled out, and the groups whose rewards differ are trained on
            (dynamic sampling, see `medrobust_bench.train.dynamic_sampling`); 1 trains on all.
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
    augmentation: AugmentationSettings | None = None
    exchange: float = Field(default=0.0, ge=0, le=1, strict=True)
    processor: dict[str, Any] = Field(default_factory=dict)
    rewards: RewardWeights = RewardWeights()
    steps: int = Field(ge=1)
    prompts: int = Field(default=16, ge=1)
    oversample: int = Field(default=1, ge=1, strict=True)
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
        if self.mode not in FORMATS:
            why = "option-text generates nothing to be rewarded, generate has no format to be learnt"
            raise ValueError(f"mode must be {' or '.join(FORMATS)}; {why}")
        if self.micro_batch is not None and self.rollouts % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide prompts × group = {self.rollouts} rollouts"
            )
        if self.rewards.consistency and not FORMATS[self.mode].reasons:
            raise ValueError(
                f"a {self.mode.value} model has no rationale to be consistent with; drop rewards.consistency"
            )
        if self.rewards.agreement and (self.attack is None or self.attack.eps == 0):
            raise ValueError("rewards.agreement compares clean and attacked answers; it needs an attack")
        derived = sorted(DERIVED_ARGUMENTS & self.trl.keys())
        if derived:
            raise ValueError(f"trl may not hold {', '.join(derived)}: they follow from the other settings")
        return self

    @property
    def rollouts(self) -> int:
        """Completions per optimiser step and process that are trained on."""
        return self.prompts * self.group

    @property
    def drawn(self) -> int:
        """Prompts per optimiser step and process that are attacked and rolled out."""
        return self.prompts * self.oversample

    @property
    def accumulation(self) -> int:
        """Forward and backward passes per optimiser step."""
        return self.rollouts // (self.micro_batch or self.rollouts)

    def without_attack(self) -> RlSettings:
        """The same recipe as plain GRPO: the baseline with the same base, data and budget."""
        rewards = self.rewards.model_copy(update={"agreement": 0.0})
        return self.model_copy(update={"attack": None, "noise": None, "rewards": rewards})

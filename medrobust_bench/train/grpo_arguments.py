"""TRL as this package uses it: which versions, and the arguments that a recipe turns into."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, Any

import torch
from packaging.version import Version

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.rewards import weighted_rewards
from medrobust_bench.train.trainer_arguments import build_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from trl import GRPOConfig

    from medrobust_bench.train.rl_settings import RlSettings

OLDEST, TOO_NEW = Version("1.16"), Version("2")

# Methods of GRPOTrainer that the adversarial trainer steps into.
_HOOKS = ("_generate_and_score_completions", "_generate", "_calculate_rewards", "training_step")


def require_trl() -> None:
    """Refuse a TRL that is missing, or is not known to work.

    Raises:
        InvalidInputError: with what to install.
    """
    remedy = f'pip install "trl>={OLDEST},<{TOO_NEW}" peft accelerate'
    if importlib.util.find_spec("trl") is None:
        raise InvalidInputError([Problem("trl", "is not installed", remedy)])
    version = importlib.metadata.version("trl")
    if not OLDEST <= Version(version) < TOO_NEW:
        raise InvalidInputError(
            [Problem(f"trl {version}", "is not a version that this trainer knows", remedy)]
        )
    from trl import GRPOTrainer

    missing = [name for name in _HOOKS if not hasattr(GRPOTrainer, name)]
    if missing:
        what = f"its GRPOTrainer has no {', '.join(missing)}"
        raise InvalidInputError([Problem(f"trl {version}", what, remedy)])


def grpo_arguments(settings: RlSettings, out: Path, *, use_vllm: bool = False) -> GRPOConfig:
    """TRL's arguments for a recipe.

    TRL turns bf16 and gradient checkpointing on by default; on a CPU they only cost time, and are off here unless
    the recipe asks for them.

    Raises:
        InvalidInputError: the recipe names arguments that GRPOConfig does not have, or gives it impossible values.
    """
    from trl import GRPOConfig

    cpu: dict[str, Any] = (
        {} if torch.cuda.is_available() else {"bf16": False, "gradient_checkpointing": False}
    )
    defaults = {"lr_scheduler_type": "constant_with_warmup", "report_to": "none", "save_total_limit": 2}
    derived = {
        "output_dir": str(out),
        "max_steps": settings.steps,
        "num_generations": settings.group,
        "per_device_train_batch_size": settings.rollouts // settings.accumulation,
        "gradient_accumulation_steps": settings.accumulation,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_steps,
        "beta": settings.kl,
        "seed": settings.seed,
        "logging_steps": settings.log_every,
        "save_steps": settings.save_every,
        "reward_weights": weighted_rewards(settings.rewards, settings.mode)[1],
        "remove_unused_columns": False,
    }
    vllm = {"use_vllm": True} if use_vllm else {}
    return build_arguments(
        GRPOConfig, settings.trl, key="trl", defaults=cpu | defaults, derived=derived | vllm
    )


def check_groups(arguments: GRPOConfig) -> None:
    """Refuse arguments with which rollouts of one prompt, or one generation batch, would be torn apart.

    Raises:
        InvalidInputError: everything that is wrong, together.
    """
    problems = []
    local = arguments.per_device_train_batch_size * arguments.steps_per_generation
    if local % arguments.num_generations:
        what = (
            f"per_device_train_batch_size × steps_per_generation = {local} is no multiple of num_generations = "
            f"{arguments.num_generations}: a group would be split between processes"
        )
        problems.append(Problem("trl", what, "make it a multiple"))
    period = arguments.steps_per_generation * arguments.num_iterations
    if (
        arguments.save_strategy == "steps"
        and arguments.save_steps * arguments.gradient_accumulation_steps % period
    ):
        what = f"a checkpoint every {arguments.save_steps} steps can fall inside a generation batch of {period} passes"
        problems.append(
            Problem("trl", what, "save at whole generation batches, so that a resumed run is the same")
        )
    if problems:
        raise InvalidInputError(problems)

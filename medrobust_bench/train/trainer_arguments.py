"""The arguments of the Hugging Face Trainer that a recipe turns into."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import TrainingArguments

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.train.settings import SftSettings

ArgumentsT = TypeVar("ArgumentsT", bound=TrainingArguments)


def build_arguments(
    kind: type[ArgumentsT],
    given: Mapping[str, Any],
    *,
    key: str,
    defaults: Mapping[str, Any],
    derived: Mapping[str, Any],
) -> ArgumentsT:
    """Arguments of a trainer.

    Args:
        kind: their class.
        given: what the recipe says under `key`, which goes before `defaults`.
        key: of the recipe, for messages.
        defaults: what is taken unless the recipe says otherwise.
        derived: what follows from other settings of the recipe.

    Raises:
        InvalidInputError: the recipe names arguments that there are not, or gives them impossible values.
    """
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(given.keys() - known)
    if unknown:
        what = f"no argument of {kind.__name__}"
        raise InvalidInputError([Problem(f"{key}.{name}", what, "correct the name") for name in unknown])
    cpu: dict[str, Any] = {} if torch.cuda.is_available() else {"use_cpu": True}
    try:
        arguments: ArgumentsT = kind(**{**cpu, **defaults, **given, **derived})
    except (TypeError, ValueError) as error:
        raise InvalidInputError([Problem(key, str(error), "correct the recipe")]) from error
    return arguments


def fine_tuning_arguments(settings: SftSettings, out: Path) -> TrainingArguments:
    """The Trainer's arguments for a recipe of fine-tuning; in a distributed run, those of this process.

    Raises:
        InvalidInputError: as `build_arguments`, or the batch cannot be divided evenly among processes and passes.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun and accelerate set it
    share, rest = divmod(settings.batch_size, processes)
    size = settings.micro_batch or max(1, share)
    if rest or share % size:
        what = f"{settings.batch_size} is no multiple of {processes} processes × {size} questions a pass"
        raise InvalidInputError([Problem("batch_size", what, "correct batch_size or micro_batch")])
    defaults: dict[str, Any] = {
        "adam_beta2": 0.98,
        "disable_tqdm": True,
        "report_to": "none",
        "save_total_limit": 2,
    }
    if "lr_scheduler_type" not in settings.trainer:
        defaults["lr_scheduler_type"] = "cosine_warmup_with_min_lr"
        defaults["lr_scheduler_kwargs"] = {"min_lr_rate": settings.final_rate}
    arguments = build_arguments(
        TrainingArguments,
        settings.trainer,
        key="trainer",
        defaults=defaults,
        derived={
            "output_dir": str(out),
            "max_steps": settings.steps,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": share // size,
            "learning_rate": settings.learning_rate,
            "warmup_steps": settings.warmup_steps,
            "weight_decay": settings.weight_decay,
            "max_grad_norm": settings.clip_norm,
            "logging_steps": settings.log_every,
            "save_steps": settings.save_every or settings.evaluate_every,
            "dataloader_num_workers": settings.workers,
            "label_names": ["labels"],
            "remove_unused_columns": False,
            "eval_strategy": "no",
            "seed": settings.seed,
        },
    )
    arguments._n_gpu = min(
        1, arguments.n_gpu
    )  # one GPU a process: DataParallel would tear image tokens apart
    return arguments

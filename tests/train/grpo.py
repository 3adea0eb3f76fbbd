"""Trainings by GRPO that take seconds, and what tells their models and images apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.train.grpo_arguments import grpo_arguments
from medrobust_bench.train.rl_settings import RlSettings
from tests.train.conftest import DATA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question


def quiet(line: str) -> None:
    """Swallow progress."""


def recipe_of(base: Path, **fields: Any) -> RlSettings:
    settings: dict[str, Any] = {
        "base": str(base),
        "mode": "letter",
        "data": DATA.model_dump(),
        "attack": {"steps": 2},
        "steps": 2,
        "prompts": 2,
        "group": 4,
        "max_new_tokens": 3,
        "learning_rate": 1e-3,
        "threads": 1,
        "trl": {"save_strategy": "no", "disable_tqdm": True},
    }
    return RlSettings.model_validate({**settings, **fields})


def parts(settings: RlSettings, out: Path) -> dict[str, Any]:
    return {
        "model": AutoModelForImageTextToText.from_pretrained(settings.base, dtype=torch.float32),
        "args": grpo_arguments(settings, out),
        "processing_class": AutoProcessor.from_pretrained(settings.base, padding_side="left"),
    }


def trainer_of(settings: RlSettings, questions: Sequence[Question], out: Path) -> Any:
    from medrobust_bench.train.at_grpo import AtGrpoTrainer

    return AtGrpoTrainer(questions=questions, settings=settings, **parts(settings, out))


def weights_of(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(np.asarray(row["images"][0]).tobytes()).hexdigest()

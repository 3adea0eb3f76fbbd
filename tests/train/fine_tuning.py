"""A fine-tuning that takes a second, and the weights that one has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import AutoModelForImageTextToText

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.settings import (
    SftSettings,
    Stage,
    Task,
)
from tests.train.conftest import DATA, SMALL

if TYPE_CHECKING:
    from pathlib import Path

    import torch


TINY = SftSettings(
    architecture=SMALL,
    mode=AnswerMode.REASONING,
    data=DATA,
    stages=(
        Stage(steps=2, tasks={Task.DESCRIBE: 1.0}),
        Stage(steps=2, tasks={Task.REASON: 0.5, Task.DIRECT: 0.5}),
    ),
    batch_size=4,
    warmup_steps=1,
    evaluate_every=4,
    threads=1,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AutoModelForImageTextToText.from_pretrained(folder).state_dict()
    return state

"""The questions and the checkpoint that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question
    from medrobust_bench.train.settings import TrainingData

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"


def training_questions(data: TrainingData) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Training and validation questions, disjoint by image from each other and from what `medrobust run` asks.

    Of a data set they are the official splits, whatever the seed: another one would train on test images.
    """
    if data.source == "phantoms":
        from medrobust_bench.data.phantoms import phantom_questions

        return (
            phantom_questions("train", per_modality=data.per_modality, seed=data.seed),
            phantom_questions("validation", per_modality=data.validation_per_modality, seed=data.seed),
        )
    from medrobust_bench.data.source import open_data

    train, validation = (open_data(data.source, split=split) for split in ("train", "validation"))
    return train.questions, validation.questions


def checkpoint_path(name: str) -> str:
    """Where a base checkpoint lies: a shipped one by name, a local folder, or else a hub id as it is.

    Raises:
        InvalidInputError: the name is a path that holds no checkpoint.
    """
    shipped = CHECKPOINTS / name
    if (shipped / "config.json").is_file():
        return str(shipped)
    folder = Path(name)
    if (folder / "config.json").is_file():
        return str(folder)
    if folder.exists() or name.startswith((".", "/")) or name.count("/") != 1:
        available = (
            ", ".join(sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))) or "none yet"
        )
        remedy = f"give a folder with a config.json, a hub id, or a shipped checkpoint ({available})"
        raise InvalidInputError([Problem(name, "not a checkpoint", remedy)])
    return name

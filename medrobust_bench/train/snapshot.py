"""The state of an unfinished fine-tuning, from which it goes on as if it had never stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOT_FILE = "unfinished.pt"


def save_snapshot(state: dict[str, Any], folder: Path) -> None:
    """Put a state of tensors and numbers in the place of the one before, which stays whole until then."""
    half = folder / f"{SNAPSHOT_FILE}.half"
    torch.save(state, half)
    half.replace(folder / SNAPSHOT_FILE)


def load_snapshot(folder: Path) -> dict[str, Any]:
    """The last state saved. No code is run from the file.

    Raises:
        InvalidInputError: the folder holds none, because nothing was saved yet or the training has ended.
    """
    path = folder / SNAPSHOT_FILE
    if not path.is_file():
        remedy = "drop --resume and give another --out folder"
        raise InvalidInputError([Problem(str(folder), "holds no unfinished training to resume", remedy)])
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def drop_snapshot(folder: Path) -> None:
    """Remove the state of a training that has ended."""
    (folder / SNAPSHOT_FILE).unlink(missing_ok=True)

"""What a training writes down step by step, and the picture of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.settings import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class StepLog:
    """A file of one JSON object a line, each with a "step".

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """What was kept so far, in the order of the steps; empty where nothing was."""
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition(
            "\n"
        )  # a kill may cut the last line off
        return [json.loads(line) for line in whole.splitlines()]

    def begin(self, step: int) -> None:
        """Drop what lies behind a step: what a resumed training is about to repeat."""
        if not self.path.exists():
            return
        kept = [json.dumps(entry) for entry in self.entries() if entry["step"] <= step]
        self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; the folder is created if needed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def plot_curves(checkpoints: Sequence[Path], out: Path) -> None:
    """Draw loss and validation accuracy against the step, one row of two panels per checkpoint.

    Args:
        checkpoints: folders written by `fine_tune`.
        out: picture to write, its suffix says which kind.

    Raises:
        InvalidInputError: a folder holds no training curve.
    """
    missing = [folder for folder in checkpoints if not (folder / CURVE_FILE).is_file()]
    if missing:
        remedy = "give a folder written by `medrobust train sft`"
        raise InvalidInputError(
            [Problem(str(folder), f"holds no {CURVE_FILE}", remedy) for folder in missing]
        )
    figure = Figure(figsize=(9, 2.8 * len(checkpoints)), layout="constrained")
    rows = figure.subplots(len(checkpoints), 2, squeeze=False)
    for folder, (left, right) in zip(checkpoints, rows, strict=True):
        entries = StepLog(folder / CURVE_FILE).entries()
        measured = [entry for entry in entries if "validation_accuracy" in entry]
        left.plot([e["step"] for e in entries], [e["loss"] for e in entries], linewidth=1)
        left.set(title=folder.name, xlabel="step", ylabel="loss (nats per token)", yscale="log")
        right.plot(
            [e["step"] for e in measured], [e["validation_accuracy"] for e in measured], marker="o", ms=3
        )
        right.set(title=folder.name, xlabel="step", ylabel="validation accuracy", ylim=(0, 1.02))
        for panel in (left, right):
            panel.grid(alpha=0.3)
    figure.savefig(out, dpi=110)

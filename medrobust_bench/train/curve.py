"""The curve of a training: a file of one JSON object a line, and its picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.settings import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Curve:
    """The file in which a training keeps its curve.

    Args:
        folder: of the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CURVE_FILE

    def entries(self) -> list[dict[str, Any]]:
        """What was kept so far, in the order of the steps; empty where nothing was."""
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def begin(self, step: int) -> None:
        """Drop what lies behind a step: what a resumed training is about to repeat."""
        kept = [json.dumps(entry) for entry in self.entries() if entry["step"] <= step]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, entry: Mapping[str, Any]) -> str:
        """Append an entry, which has a "step"; returns its line."""
        line = json.dumps(entry)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        return line


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
        entries = Curve(folder).entries()
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

"""Training curves as a picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.settings import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
        lines = (folder / CURVE_FILE).read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
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

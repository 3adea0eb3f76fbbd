"""Measured results in the form that the Hugging Face hub reads: `model-index` metadata and a section of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import EvalResult, ModelCardData

from medrobust_bench.leaderboard.ranking import certified
from medrobust_bench.reports.grid import escape_markdown
from medrobust_bench.reports.tables import (
    NOTE,
    accuracy_grid,
    describe_data,
    describe_threat,
    describe_without_images,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Result

TASK = "visual-question-answering"


def model_index(results: Sequence[Result]) -> str:
    """YAML front matter with every accuracy as an evaluation result, made by the hub's own classes.

    Args:
        results: of one model, at least one.
    """
    evaluated = []
    for result in results:
        values = [("accuracy", "Accuracy", result.metrics.clean_accuracy.value)]
        if result.metrics.robust_accuracy is not None:
            label = f"Robust accuracy ({result.threat.name})"
            values = [("robust_accuracy", label, result.metrics.robust_accuracy.value)]
        elif result.metrics.corrupted_accuracy is not None:
            label = f"Mean corruption accuracy ({result.threat.name})"
            values = [("corrupted_accuracy", label, result.metrics.corrupted_accuracy.value)]
        elif grid := certified(result.metrics):
            values = [
                (
                    f"certified_accuracy_{one.radius:g}",
                    f"Certified accuracy at L2 radius {one.radius:g} ({result.threat.name})",
                    one.value,
                )
                for one in grid
            ]
        evaluated += [
            EvalResult(
                task_type=TASK,
                dataset_type=result.data.name,
                dataset_name=result.data.name,
                dataset_split=result.data.split,
                dataset_args={"questions": result.data.n, "digest": result.data.digest},
                metric_type=metric,
                metric_name=label,
                metric_value=round(value, 4),
                metric_args=result.threat.model_dump(mode="json"),
            )
            for metric, label, value in values
        ]
    data = ModelCardData(
        model_name=results[0].model.id, eval_results=evaluated, tags=["medical", "robustness"]
    )
    return f"---\n{data.to_yaml()}\n---\n"


def section(results: Sequence[Result]) -> str:
    """The section of a model card, as Markdown."""
    threats = {result.threat.name: result.threat for result in results if result.threat.yields != "clean"}
    blocks = [
        "## Robustness",
        escape_markdown(describe_data(results[0].data)),
        *[escape_markdown(line) for line in [describe_without_images(results)] if line],
        accuracy_grid(results).markdown(),
    ]
    if threats:
        blocks.append(
            "\n".join(f"- {escape_markdown(describe_threat(threat))}" for threat in threats.values())
        )
    return "\n\n".join([*blocks, NOTE]) + "\n"

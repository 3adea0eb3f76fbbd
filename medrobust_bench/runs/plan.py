"""The plan: everything about a run that is decided before the first forward pass.

The plan alone fixes the chunks and every seed, so a run that is killed and resumed gives the same results.
"""

from __future__ import annotations

import platform
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import Field

from medrobust_bench.data.image import canonical
from medrobust_bench.records import (
    DataRecord,
    Environment,
    ModelRecord,
    Record,
    SkippedRow,
)
from medrobust_bench.specs.kinds import AnySpec
from medrobust_bench.specs.settings import RunSettings
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.specs.threat import ThreatSpec


class Plan(Record):
    """What a run will do.

    Attributes:
        chunks: question ids; the images of a chunk share one shape.
        models: registry ids, in the order in which they run.
    """

    settings: RunSettings
    data: DataRecord
    models: tuple[str, ...]
    threats: tuple[AnySpec, ...]
    chunks: tuple[tuple[str, ...], ...]

    def recorded_together(self, threat: ThreatSpec) -> tuple[tuple[str, ...], ...]:
        """The question ids whose outcomes reach the journal at once: a certificate can take minutes and comes alone."""
        if threat.yields != "certified":
            return self.chunks
        return tuple((question,) for chunk in self.chunks for question in chunk)


class RunRecord(Record):
    """`run.json`: the plan, where it runs, and the models seen so far."""

    plan: Plan
    environment: Environment
    models: dict[str, ModelRecord] = Field(default_factory=dict)


def make_plan(
    settings: RunSettings, dataset: Dataset, *, models: Sequence[str], threats: Sequence[ThreatSpec]
) -> Plan:
    """Cut the work into chunks of equal image shape; clean answers come first among the threats."""
    return Plan(
        settings=settings,
        data=DataRecord(
            name=dataset.name,
            split=dataset.split,
            synthetic=dataset.synthetic,
            n=len(dataset.questions),
            digest=dataset.digest(),
            skipped=tuple(
                SkippedRow(where=row.where, row=row.row, reason=row.what) for row in dataset.skipped
            ),
        ),
        models=tuple(models),
        threats=(CLEAN, *(threat for threat in threats if threat.name != CLEAN.name)),
        chunks=_chunks(dataset.questions, settings.questions_per_chunk),
    )


def _chunks(questions: Sequence[Question], size: int) -> tuple[tuple[str, ...], ...]:
    by_shape: dict[tuple[int, ...], list[str]] = {}
    with ThreadPoolExecutor() as pool:
        shapes = pool.map(lambda question: canonical(question.image).shape, questions)
        for question, shape in zip(questions, shapes, strict=True):
            by_shape.setdefault(shape, []).append(question.id)
    return tuple(
        tuple(ids[start : start + size]) for ids in by_shape.values() for start in range(0, len(ids), size)
    )


def file_stem(model: str, threat: str) -> str:
    """File name of a result: letters, digits, dot, dash and underscore only; never a path."""
    return "--".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip(".") for part in (model, threat))


def environment(device: str) -> Environment:
    """The software and hardware at hand."""
    return Environment(
        medrobust_bench=version("medrobust-bench"),
        python=platform.python_version(),
        torch=version("torch"),
        transformers=version("transformers"),
        adversarial_robustness_toolbox=version("adversarial-robustness-toolbox"),
        platform=f"{platform.system()} {platform.machine()}",
        device=device,
    )

"""The plan: everything about a run that is decided before the first forward pass.

The plan alone fixes the chunks and every seed, so a run that is killed and resumed gives the same results.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from medrobust_bench.data.image import canonical
from medrobust_bench.models.device import usual_device
from medrobust_bench.records import (
    DataRecord,
    Environment,
    SkippedRow,
)
from medrobust_bench.records.run import Plan
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.specs.settings import RunSettings
    from medrobust_bench.specs.threat import ThreatSpec


def make_plan(
    settings: RunSettings,
    dataset: Dataset,
    *,
    models: Sequence[str],
    threats: Sequence[ThreatSpec],
    kept: Sequence[tuple[str, ...]] = (),
) -> Plan:
    """Cut the work into chunks of equal image shape; clean answers come first among the threats.

    Args:
        settings: of the run.
        dataset: the sample of questions.
        models: registry ids.
        threats: in the order asked for.
        kept: chunks of the run that this one extends; they stay as they are, and the other questions follow.
    """
    known = {question for chunk in kept for question in chunk}
    others = tuple(question for question in dataset.questions if question.id not in known)
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
            preparation=dataset.preparation(),
            groups=dataset.groups(),
        ),
        models=tuple(models),
        threats=(CLEAN, *(threat for threat in threats if threat.name != CLEAN.name)),
        chunks=(*kept, *_chunks(replace(dataset, questions=others), settings.questions_per_chunk)),
    )


def _chunks(dataset: Dataset, size: int) -> tuple[tuple[str, ...], ...]:
    by_shape: dict[tuple[int, int], list[str]] = {}
    for question in dataset.questions:
        by_shape.setdefault(_shape(dataset, question), []).append(question.id)
    return tuple(
        tuple(ids[start : start + size]) for ids in by_shape.values() for start in range(0, len(ids), size)
    )


def _shape(dataset: Dataset, question: Question) -> tuple[int, int]:
    """Height and width of the canonical image, which is decoded only where nobody has looked at it yet."""
    state = dataset.states.get(question.id)
    if state is not None and state.shape is not None:
        return state.shape
    height, width, _ = canonical(question.image).shape
    return height, width


def environment(device: str) -> Environment:
    """The software and hardware at hand; of "auto", the device that it means here."""
    return Environment(
        medrobust_bench=version("medrobust-bench"),
        python=platform.python_version(),
        torch=version("torch"),
        transformers=version("transformers"),
        adversarial_robustness_toolbox=version("adversarial-robustness-toolbox"),
        platform=f"{platform.system()} {platform.machine()}",
        device=usual_device() if device == "auto" else device,
    )

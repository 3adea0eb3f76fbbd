"""What a run was asked to do, where it runs, and the models it met: `run.json`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import Field

from medrobust_bench.records.data import DataRecord
from medrobust_bench.records.model import ModelRecord
from medrobust_bench.records.record import Record
from medrobust_bench.records.result import Environment
from medrobust_bench.specs.kinds import AnySpec
from medrobust_bench.specs.settings import RunSettings

if TYPE_CHECKING:
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


def file_stem(model: str, threat: str) -> str:
    """File name of a result: letters, digits, dot, dash and underscore only; never a path."""
    return "--".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip(".") for part in (model, threat))

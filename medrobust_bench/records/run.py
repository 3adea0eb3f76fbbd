"""What a run was asked to do, where it runs, and the models it met: `run.json`."""

from __future__ import annotations

import hashlib
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


LONGEST_NAME = 80
"""Letters of a model or threat in a file name; a disk allows 255 bytes for all of it."""


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
    """`run.json`: the plan, where it runs, the models seen so far, and what each was really given for one question."""

    plan: Plan
    environment: Environment
    models: dict[str, ModelRecord] = Field(default_factory=dict)
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="By model, the whole input as rendered for the plan's first question",
    )


def file_stem(model: str, threat: str) -> str:
    """File name of a result: letters, digits, dot, dash and underscore only; never a path.

    Different names never share a file: where a name had to be changed, eight digits of its SHA-256 follow it.
    """
    return "--".join(map(_file_name, (model, threat)))


def former_file_stem(model: str, threat: str) -> str:
    """As `file_stem` was before schema 1.1: different names could share a file."""
    return "--".join(map(_plain, (model, threat)))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".")


def _file_name(name: str) -> str:
    plain = _plain(name)
    if plain == name and "--" not in name and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub('-{2,}', '-', plain)[:LONGEST_NAME].strip('-')}-{digest}"

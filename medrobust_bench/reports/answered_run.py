"""What reports read of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.records import Outcome, Result
    from medrobust_bench.records.run import RunRecord
    from medrobust_bench.records.witness import AnyWitness
    from medrobust_bench.specs.threat import ThreatSpec


class AnsweredRun(Protocol):
    """A run in which every question has its outcome or failed; see `medrobust_bench.Run`."""

    @property
    def folder(self) -> Path:
        """Where it was read."""
        ...

    @property
    def record(self) -> RunRecord:
        """`run.json`."""
        ...

    @property
    def threats(self) -> tuple[ThreatSpec, ...]:
        """Those of the plan, and the worst case over its attacks."""
        ...

    @property
    def outcomes(self) -> Mapping[tuple[str, str], tuple[Outcome, ...]]:
        """By model and threat name, one outcome per question that came to one."""
        ...

    @property
    def results(self) -> tuple[Result, ...]:
        """One per model and threat."""
        ...

    def witnesses(self, model: str, threat: str) -> Sequence[AnyWitness]:
        """The images that broke an answer."""
        ...

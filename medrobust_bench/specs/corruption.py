"""Acquisition faults, by chance and at their worst."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medrobust_bench.specs.exact import count
from medrobust_bench.specs.threat import ThreatSpec, Yields

Severity = Annotated[int, Field(ge=1, le=5)]
"""1 to 5; what amount it means for a kind and a modality is in the table that was calibrated by SSIM."""


class _ByChance(ThreatSpec):
    """Faults that happen to the image by chance: every question is asked, not only those answered right."""

    yields: ClassVar[Yields] = "corrupted"
    remade: ClassVar[bool] = True
    family: ClassVar[str] = "corruption"


class CorruptionSpec(_ByChance):
    """One kind of acquisition fault at one severity: `corruption:mri-ghosting,severity=3`.

    Questions about modalities in which it does not occur, and those whose answer it may change, are left out.

    Attributes:
        fault: the kind.
        severity: 1 to 5.
    """

    shorthand: ClassVar[str | None] = "fault"

    kind: Literal["corruption"]
    fault: str
    severity: Severity

    @property
    def faults(self) -> tuple[str, ...]:
        """The one kind."""
        return (self.fault,)

    @property
    def severities(self) -> tuple[int, ...]:
        """The one severity."""
        return (self.severity,)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        return f"acquisition fault {self.fault} at severity {self.severity}, once a question, by chance"


class CorruptionSuiteSpec(_ByChance):
    """Several kinds of acquisition faults at several severities, each once a question.

    Attributes:
        faults: the kinds; empty for all that occur in the question's modality and leave its answer as it is.
        severities: 1 to 5, ascending.
    """

    kind: Literal["corruption-suite"]
    faults: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = Field(min_length=1)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        return f"{_faults(self.faults)}, severities {', '.join(map(str, self.severities))}, by chance"


class WorstCorruptionSpec(ThreatSpec):
    """The kind of acquisition fault that breaks the answer, and where asked for, its worst parameters.

    Each kind is tried once, as the suites would; then a query search moves its free parameters (places, directions,
    phases), its random numbers, and its amount between this severity and the one below. No gradient is taken.

    Attributes:
        faults: the kinds; empty for all that occur in the question's modality and leave its answer as it is.
        severity: 1 to 5.
        queries: images tried beyond one of each kind.
    """

    remade: ClassVar[bool] = True
    family: ClassVar[str] = "corruption"

    kind: Literal["corruption-worst"]
    faults: tuple[str, ...] = ()
    severity: Severity
    queries: int = Field(default=0, ge=0, le=100_000)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        searched = (
            f" and of {count(self.queries, 'further query', 'further queries')}" if self.queries else ""
        )
        return f"worst of {_faults(self.faults)} at severity {self.severity}{searched}"


def _faults(faults: tuple[str, ...]) -> str:
    return count(len(faults), "acquisition fault") if faults else "all acquisition faults of the modality"

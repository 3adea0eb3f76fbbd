"""A question that could not be asked or answered under a threat: a line of the journal, and never right or wrong."""

from __future__ import annotations

from pydantic import Field

from medrobust_bench.problems import printable
from medrobust_bench.records.record import Record

LONGEST_REASON = 300


class Failure(Record):
    """One question under one threat that came to no outcome."""

    model: str
    threat: str
    question: str
    error: str = Field(description="Kind of fault: the name of the error")
    reason: str = Field(description="What the error says, in one line")

    @classmethod
    def of(cls, error: BaseException, *, model: str, threat: str, question: str) -> Failure:
        """The failure that an error means."""
        said = " ".join(str(error).split())
        return cls(
            model=model,
            threat=threat,
            question=question,
            error=type(error).__name__,
            reason=printable(said if len(said) <= LONGEST_REASON else f"{said[: LONGEST_REASON - 1]}…"),
        )

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return printable(f"{self.question}, {self.model} under {self.threat}: {self.error}{reason}")

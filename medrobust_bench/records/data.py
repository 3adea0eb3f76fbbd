"""Which questions were asked."""

from __future__ import annotations

from pydantic import Field

from medrobust_bench.records.record import Record


class SkippedRow(Record):
    """A row of the data set that was left out."""

    where: str
    row: int | None
    reason: str


class DataRecord(Record):
    """Which questions were asked."""

    name: str
    split: str
    synthetic: bool = Field(description="True where images are rendered rather than taken from patients")
    n: int = Field(ge=1, description="Number of questions asked")
    digest: str = Field(
        description="SHA-256 over id, image content, text, options and answer of every question"
    )
    skipped: tuple[SkippedRow, ...] = ()

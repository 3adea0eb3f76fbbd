"""What an audit check found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medrobust_bench.records.record import Record


class Finding(Record):
    """What one audit check found."""

    check: str
    value: float | str | None
    verdict: Literal["pass", "warn", "fail"]
    meaning: str
    source: str = Field(default="", description="Who proposed the check")

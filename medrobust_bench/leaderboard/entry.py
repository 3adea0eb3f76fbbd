"""A submission to the leaderboard: one result with what a stranger needs to check it.

`<data>/<threat>/<model>.json` holds the result, how its questions were chosen, and a manifest of the evidence:
`journal.jsonl`, one line per question on the clean image and under the threat, and `witnesses.parquet`, the images that
broke an answer. Each stands in a folder of the same name beside it, or on the Hugging Face hub; where the journal does,
the bits of it that ranks are computed from stay beside: `answers.csv`.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, ValidationError

from medrobust_bench.leaderboard.names import slug
from medrobust_bench.records import Finding, Record, Result

if TYPE_CHECKING:
    from pathlib import Path

ENTRY_VERSION: Final = "1.0"

JOURNAL, WITNESSES, ANSWERS = "journal.jsonl", "witnesses.parquet", "answers.csv"

LARGEST_FILE = 5_000_000
"""Bytes of a submission file; an honest one has a few thousand."""

LARGEST_IN_REPOSITORY = 20_000_000
"""Bytes of evidence that a pull request may carry; more belongs into a data set on the hub."""


class Selection(Record):
    """How the questions were chosen from the data set."""

    split: str
    modalities: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=1, description="Size of the balanced sample; null for all")
    skip_invalid: bool = False
    seed: int = Field(ge=0, description="Of the sample, and of every attack")


class Evidence(Record):
    """One file of evidence."""

    name: Literal["journal.jsonl", "witnesses.parquet", "answers.csv"]
    size: int = Field(ge=0, description="Bytes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}/[\w./-]+$",
        description="owner/dataset@commit/path on the Hugging Face hub; null: beside this file",
    )


class Entry(Record):
    """A submission."""

    entry_version: Literal["1.0"] = ENTRY_VERSION
    submitted: date = Field(description="Day on which it was written, UTC")
    result: Result
    clean_audit: tuple[Finding, ...] = Field(
        default=(), description="What the audit of the clean answers found: chance, image dependence, …"
    )
    selection: Selection
    evidence: tuple[Evidence, ...] = Field(min_length=1, max_length=3)


def read_readable(path: Path) -> Entry | None:
    """A submission file that may be anybody's; None where it is none, too large, or cannot be read."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return None
        return Entry.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def entry_path(result: Result) -> str:
    """Where a submission stands below the folder of submissions: `<data>/<threat>/<model>.json`."""
    return "/".join(map(slug, (result.data.name, result.threat.name, result.model.id))) + ".json"


def evidence_folder(path: Path) -> Path:
    """The folder of a submission's evidence."""
    return path.with_suffix("")

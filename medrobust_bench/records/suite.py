"""The folder of several runs that belong together: the same models and threats, one data set each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.record import Record
from medrobust_bench.specs.settings import RunSettings

if TYPE_CHECKING:
    from pathlib import Path

FILE = "suite.json"


class SuiteRecord(Record):
    """`suite.json`: by the folder of each run inside the suite's, what it was asked to do."""

    runs: dict[str, RunSettings] = Field(min_length=2)


def is_suite(folder: Path) -> bool:
    """Whether a folder holds a suite of runs."""
    return (folder / FILE).is_file()


def write_suite(folder: Path, record: SuiteRecord) -> None:
    """Write `suite.json`."""
    replace_file(folder / FILE, record.model_dump_json(indent=2).encode() + b"\n")


def read_suite(folder: Path) -> SuiteRecord:
    """Read `suite.json`.

    Raises:
        InvalidInputError: it is no such record, or names a folder that is not inside.
    """
    path = folder / FILE
    try:
        record = SuiteRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        what = f"is no record of several runs: {str(error).splitlines()[0]}"
        raise InvalidInputError(
            [Problem(str(path), what, "give a folder that `medrobust run` wrote")]
        ) from error
    outside = [name for name in record.runs if name in ("", ".", "..") or "/" in name or "\\" in name]
    if outside:
        raise InvalidInputError(
            [Problem(str(path), f"names {outside[0]!r}, which is no folder inside", "restore the file")]
        )
    return record

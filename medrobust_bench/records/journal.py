"""The journal: one JSON line per finished question and threat, appended chunk by chunk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class Journal:
    """An append-only JSONL file of outcomes.

    A line is an `Outcome`. A chunk's lines are written by one call, those of certificates one by one, and reach the
    disk before the work goes on, so that a killed run loses what is open and nothing else. A torn last line, left by a
    kill in the middle of a write, is not part of the journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Outcome]:
        """Every whole line.

        Raises:
            InvalidInputError: it cannot be read, or a line other than a torn last one is not an outcome.
        """
        if not self.path.exists():
            return []
        try:
            *lines, _torn = self.path.read_bytes().split(b"\n")
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            raise InvalidInputError([Problem(str(self.path), what, "restore the file")]) from error
        outcomes = []
        for row, line in enumerate(lines, start=1):
            try:
                outcomes.append(Outcome.model_validate_json(line))
            except ValidationError as error:
                problem = Problem(
                    where=str(self.path),
                    row=row,
                    what=f"is not an outcome: {error.errors()[0]['msg']}",
                    remedy="restore the file, or start the run again in an empty folder",
                )
                raise InvalidInputError([problem]) from error
        return outcomes

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes and wait until they are on disk."""
        with self.path.open("ab") as file:
            file.write(_lines(outcomes))
            file.flush()
            os.fsync(file.fileno())

    def replace(self, outcomes: Sequence[Outcome]) -> None:
        """Rewrite the journal atomically (used on resume, to drop the chunk that a kill cut short)."""
        replace_file(self.path, _lines(outcomes))


def _lines(outcomes: Iterable[Outcome]) -> bytes:
    return b"".join(outcome.model_dump_json().encode() + b"\n" for outcome in outcomes)

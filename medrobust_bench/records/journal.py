"""The journal: one JSON line per question and threat, finished or failed, appended chunk by chunk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.failure import Failure
from medrobust_bench.records.files import replacing
from medrobust_bench.records.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from medrobust_bench.records.record import Record

_LINE: TypeAdapter[Outcome | Failure] = TypeAdapter(Outcome | Failure)


class Journal:
    """An append-only JSONL file of outcomes and failures.

    A line is an `Outcome`, or a `Failure`; it counts until another of the same question, threat and model follows. A
    chunk's lines are written by one call, those of certificates one by one, and reach the disk before the work goes on,
    so that a killed run loses what is open and nothing else. A torn last line, left by a kill in the middle of a write,
    is not part of the journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Outcome]:
        """Every outcome; see `lines`."""
        return [line for line in self.lines() if isinstance(line, Outcome)]

    def failures(self) -> list[Failure]:
        """What has failed and not been done since; see `lines`."""
        return [line for line in self.lines() if isinstance(line, Failure)]

    def lines(self) -> list[Outcome | Failure]:
        """What stands: of every question, threat and model the last line, in the place of the first; see `written`."""
        return list({(one.model, one.threat, one.question): one for one in self.written()}.values())

    def written(self) -> list[Outcome | Failure]:
        """Every whole line, those that a later one has replaced included.

        Raises:
            InvalidInputError: it cannot be read, or a line other than a torn last one is not an outcome.
        """
        if not self.path.exists():
            return []
        try:
            with self.path.open("rb") as file:
                return self._read(file)
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            raise InvalidInputError([Problem(str(self.path), what, "restore the file")]) from error

    def _read(self, lines: Iterable[bytes]) -> list[Outcome | Failure]:
        found: list[Outcome | Failure] = []
        keys: dict[frozenset[str], set[str]] = {}
        for row, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                read = _LINE.validate_json(line)
            except ValidationError as error:
                problem = Problem(
                    where=str(self.path),
                    row=row,
                    what=f"is not an outcome: {error.errors()[0]['msg']}",
                    remedy="restore the file, or start the run again in an empty folder",
                )
                raise InvalidInputError([problem]) from error
            _share_keys(read, keys)
            for attempt in read.attempts if isinstance(read, Outcome) else ():
                _share_keys(attempt, keys)
            found.append(read)
        return found

    def holds_only(self, count: int) -> bool:
        """Whether the file has so many lines and nothing else, no torn one either."""
        if not self.path.exists():
            return count == 0
        with self.path.open("rb") as file:
            lines = [line.endswith(b"\n") for line in file]
        return len(lines) == count and all(lines)

    def append(self, outcomes: Iterable[Outcome | Failure]) -> None:
        """Write lines and wait until they are on disk."""
        with self.path.open("ab") as file:
            file.write(_lines(outcomes))
            file.flush()
            os.fsync(file.fileno())

    def replace(self, outcomes: Sequence[Outcome | Failure]) -> None:
        """Rewrite the journal atomically (used on resume, to drop the chunk that a kill cut short)."""
        with replacing(self.path) as file:
            file.writelines(_line(outcome) for outcome in outcomes)


def _share_keys(record: Record, known: dict[frozenset[str], set[str]]) -> None:
    """Have records that were given the same keys share the set of them: of each its own takes half of its memory.

    Records are frozen, so that none of them changes it.
    """
    given = record.__pydantic_fields_set__
    object.__setattr__(record, "__pydantic_fields_set__", known.setdefault(frozenset(given), given))


def _line(outcome: Outcome | Failure) -> bytes:
    return outcome.model_dump_json().encode() + b"\n"


def _lines(outcomes: Iterable[Outcome | Failure]) -> bytes:
    return b"".join(map(_line, outcomes))

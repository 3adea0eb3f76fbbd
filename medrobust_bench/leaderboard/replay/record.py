"""Who has done a submission again, when, and what came of it: kept beside the submissions, shown on the board.

`leaderboards/replays/<data>/<threat>/<model>.json`, written by `medrobust verify --record`; nobody's submission may
touch it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from medrobust_bench.records import Record
from medrobust_bench.records.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.leaderboard.replay.agreement import Replay


class Repeated(Record):
    """One kind of claim, done again."""

    kind: str
    ranks: bool = Field(description="Whether ranks rest on it")
    asked: int = Field(ge=0)
    of: int = Field(ge=0)
    disagreements: int = Field(ge=0)
    bound: float = Field(
        ge=0, le=1, description="Largest share of claims that are not so, with 95 % confidence"
    )


class ReplayRecord(Record):
    """A submission done again, in part or in full."""

    submission_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the submission file")
    by: str = Field(pattern=r"^[\w. @-]{1,60}$")
    on: date
    program: str
    agrees: bool
    kinds: tuple[Repeated, ...]
    fresh_phantoms: str | None = Field(default=None, description="What came of them, in words")

    def told(self) -> str:
        """For a cell of a table: day, how much was repeated, and by whom.

        "in full", and where some claims came out otherwise, within the tolerance, which share of them; else the bound
        on what ranks, or "answers" where none of it was repeated.
        """
        return f"{self.on}: {self._found()} ({self.by})"

    def _found(self) -> str:
        if not self.agrees:
            return "DISAGREES"
        claims = sum(one.of for one in self.kinds)
        if claims and sum(one.asked for one in self.kinds) == claims:
            differing = sum(one.disagreements for one in self.kinds)
            return f"in full, {100 * differing / claims:.1f} % differ" if differing else "in full"
        bounds = ", ".join(f"{100 * one.bound:.1f} %" for one in self.kinds if one.ranks and one.asked)
        return f"≤ {bounds}" if bounds else "answers"


def keep(replay: Replay, submission: Path, folder: Path, *, by: str) -> Path:
    """Write what came of a replay; returns the file.

    Args:
        replay: of the submission.
        submission: its file.
        folder: of replays.
        by: who did it.
    """
    record = ReplayRecord(
        submission_sha256=_digest(submission),
        by=by,
        on=datetime.now(UTC).date(),
        program=version("medrobust-bench"),
        agrees=replay.agrees,
        kinds=tuple(
            Repeated(
                kind=one.kind,
                ranks=one.ranks,
                asked=one.asked,
                of=one.of,
                disagreements=len(one.disagreements),
                bound=one.bound,
            )
            for one in replay.agreements
        ),
        fresh_phantoms=None if replay.hidden is None else replay.hidden.line(),
    )
    path = folder.joinpath(*submission.absolute().parts[-3:])
    replace_file(path, record.model_dump_json(indent=2).encode() + b"\n")
    return path


def kept(submission: Path) -> ReplayRecord | None:
    """What is kept about a submission as it is now; None where that is nothing, or about what it was before."""
    *_above, data, threat, model = submission.absolute().parts
    path = submission.absolute().parents[3] / "replays" / data / threat / model
    try:
        record = ReplayRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.submission_sha256 == _digest(submission) else None


def _digest(submission: Path) -> str:
    return hashlib.sha256(submission.read_bytes()).hexdigest()

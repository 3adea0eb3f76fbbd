"""Falsifying an honest submission."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.records.witness import SCHEMA

if TYPE_CHECKING:
    from medrobust_bench.models.cards import Card


Line = dict[str, Any]
Make = Callable[[str], "Forgery"]

SHIPPED = Path(__file__).parents[2] / "leaderboards" / "submissions"


class Forgery:
    """A copy of an honest submission that can be falsified, with its manifest made to fit again."""

    def __init__(self, honest: Path, root: Path, threat: str, model: str = "schooled") -> None:
        shutil.copytree(honest, root / "submissions")
        self.path = root / "submissions" / "phantoms" / threat / f"{model}.json"
        self.folder = self.path.with_suffix("")
        self.document: dict[str, Any] = json.loads(self.path.read_text())

    @property
    def result(self) -> dict[str, Any]:
        return self.document["result"]  # type: ignore[no-any-return]

    def save(self) -> Path:
        """Write the document, sizes and digests of the evidence brought up to date."""
        for file in self.document["evidence"]:
            content = (self.folder / file["name"]).read_bytes()
            file |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.path.write_text(json.dumps(self.document))
        return self.path

    def journal(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Rewrite the journal's lines."""
        file = self.folder / "journal.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))

    def witness(self, change: Callable[[dict[str, Any]], dict[str, Any]], *, told: bool = True) -> None:
        """Rewrite the first witness; where `told`, its own digest and the journal's follow."""
        file = self.folder / "witnesses.parquet"
        rows = pq.read_table(file).to_pylist()
        old, new = rows[0]["sha256"], change(dict(rows[0]))
        if told:
            new["sha256"] = hashlib.sha256(new["image"]).hexdigest()
            self.journal(
                lambda lines: [
                    {**line, "witness_sha256": new["sha256"]} if line["witness_sha256"] == old else line
                    for line in lines
                ]
            )
        pq.write_table(pa.Table.from_pylist([new, *rows[1:]], schema=SCHEMA), file, compression="none")


def reasons(path: Path, cards: dict[str, Card]) -> str:
    """Why a submission is rejected, one reason a line; fails where it is not."""
    verdict = verify(path, cards=cards)
    assert not verdict.accepted
    assert not verdict.ranked
    return "\n".join(map(str, verdict.faults))


def under_threat(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    """Change every attacked line, or every certificate's."""

    def rewrite(lines: list[Line]) -> list[Line]:
        for line in lines:
            if line["attacked"] or line["certificate"]:
                change(line)
        return lines

    return rewrite


def standing(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    return under_threat(lambda line: change(line) if line["correct"] else None)


def broken(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    return under_threat(lambda line: change(line) if not line["correct"] else None)


def every(change: Callable[[Line], object]) -> Callable[[list[Line]], list[Line]]:
    def rewrite(lines: list[Line]) -> list[Line]:
        for line in lines:
            change(line)
        return lines

    return rewrite


def losses(change: Callable[[list[float]], list[float | None]]) -> Callable[[Line], None]:
    """Change the losses of every run."""

    def rewrite(line: Line) -> None:
        for attempt in line["attempts"]:
            attempt["losses"] = change(attempt["losses"])

    return rewrite


def rewrite(made: Forgery, model: str, threat: str, change: Callable[[list[Line]], list[Line]]) -> None:
    """Falsify another submission of the same folder."""
    other = object.__new__(Forgery)
    other.path = made.path.parents[1] / threat / f"{model}.json"
    other.folder = other.path.with_suffix("")
    other.document = json.loads(other.path.read_text())
    other.journal(change)
    other.save()

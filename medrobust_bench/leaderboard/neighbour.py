"""The other submissions of a folder, which one is held against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.entry import read_readable
from medrobust_bench.leaderboard.evidence import read_beside

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from pathlib import Path

    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.records import ModelRecord


TOLERANCE = 0.01
"""Share of the shared questions on which two submissions of a model may differ: near ties on two machines."""


@dataclass(frozen=True)
class Neighbour:
    """Another submission of the folder, as far as it could be read.

    Attributes:
        path: of its file.
        entry: what it holds.
        proof: its evidence, as far as it stands beside the file.
    """

    path: Path
    entry: Entry
    proof: Proof

    @property
    def name(self) -> str:
        """Where it stands below the folder of submissions."""
        return "/".join(self.path.parts[-3:])


def neighbours(path: Path) -> Iterator[Neighbour]:
    """The other submissions of the folder in which one stands, those that can be read."""
    root = path.absolute().parents[2]
    for other in sorted(root.glob("*/*/*.json")):
        if other != path.absolute() and not other.is_symlink() and not other.parent.is_symlink():
            found = _read(other, other.stat().st_mtime_ns)
            if found is not None:
                yield found


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Neighbour | None:
    """What is wrong with another submission is for its own verification to say."""
    entry = read_readable(path)
    if entry is None:
        return None
    proof = read_beside(path, entry)
    return None if proof is None else Neighbour(path, entry, proof)


def same_model(one: ModelRecord, other: ModelRecord) -> bool:
    """Whether two results are about one model: the same weights, or id where those are unknown, answering alike."""
    return _model(one) == _model(other)


def _model(model: ModelRecord) -> Hashable:
    return model.weights, model.server, model.dtype, model.answer_mode, model.smoothing


def asked(entry: Entry) -> Hashable:
    """Equal for submissions about the same questions with the same seed."""
    return entry.result.data.digest, entry.result.seed

"""What is said about one submission: small enough to be handed from process to process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.guard import unlimited
from medrobust_bench.leaderboard.replay import replay
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.certify.fault import Fault
    from medrobust_bench.data.reopen import Place
    from medrobust_bench.leaderboard.replay import Replay, Wish
    from medrobust_bench.models.cards import Card


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a submission.

    Attributes:
        path: the submission file.
        faults: what is wrong.
        unranked: why it has no rank, where nothing is.
        replay: what came of doing it again, where that was wished for and nothing is wrong.
    """

    path: Path
    faults: tuple[Fault, ...]
    unranked: tuple[str, ...] = ()
    replay: Replay | None = None

    @property
    def accepted(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def agrees(self) -> bool:
        """Whether it is accepted, and borne out as far as it was done again."""
        return self.accepted and (self.replay is None or self.replay.agrees)

    def lines(self) -> list[str]:
        """For people, one thing a line."""
        state = "accepted" if self.accepted else "REJECTED"
        ranked = self.accepted and not self.unranked
        told = [printable(f"{self.path}: {state}{', ranked' if ranked else ''}")]
        told += [f"  wrong: {fault}" for fault in self.faults]
        if self.accepted:
            told += [printable(f"  not ranked: {reason}") for reason in self.unranked]
        if self.replay is not None:
            told.append(
                f"  replay {'agrees' if self.replay.agrees else 'DISAGREES'} (seed {self.replay.seed})"
            )
            told += [printable(f"    {line}") for line in self.replay.lines()]
        return told


def report(
    path: Path, *, cards: Mapping[str, Card], data: Mapping[str, Place], wish: Wish | None = None
) -> Report:
    """Verify a submission, do a part of it again where that is wished for, and say what came of it.

    Args:
        path: as of `verify`.
        cards: as of `verify`.
        data: as of `verify`.
        wish: what is to be done again.
    """
    verdict = verify(path, cards=cards, data=data)
    case = verdict.case
    replayed = None
    if wish is not None and verdict.accepted and case is not None:
        unlimited()
        card = cards[case.entry.result.model.id]
        replayed = replay(
            case,
            card,
            wish,
            tell=lambda line: print(printable(f"{path}: repeating {line}"), file=sys.stderr, flush=True),
        )
    return Report(path, verdict.faults, verdict.unranked, replayed)

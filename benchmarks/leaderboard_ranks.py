"""How often a board tells equally good models apart, and whether anybody can push a rival down: simulated.

`python benchmarks/leaderboard_ranks.py` prints the tables of docs/leaderboard.md; a few minutes of one thread.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.leaderboard.answers import Counted
from medrobust_bench.leaderboard.ranking import Contestant, ranks
from medrobust_bench.records.intervals import wilson
from medrobust_bench.reports.grid import Grid, with_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTIONS = 100


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(equal_models(arguments.boards, np.random.default_rng(arguments.seed)).markdown())
    print()
    print(puppets(arguments.boards, np.random.default_rng(arguments.seed)).markdown())


def equal_models(boards: int, draw: np.random.Generator) -> Grid:
    """Boards of equally good models, independent or alike, on which any two do not share a rank."""
    rows = []
    for models in (2, 4, 7, 12):
        for accuracy in (0.5, 0.85):
            for common in (0.0, 0.5):
                separated = sum(
                    len({rank.first for rank in ranks(board(draw, models, accuracy, common))}) > 1
                    for _ in range(boards)
                )
                estimate = wilson(separated, boards)
                rows.append(
                    (str(models), f"{100 * accuracy:.0f} %", f"{100 * common:.0f} %", with_interval(estimate))
                )
    header = ("Models", "Accuracy", "Questions that all answer alike", "Boards that tell any two apart, %")
    return Grid("Equal models", header, tuple(rows), names=0)


def puppets(boards: int, draw: np.random.Generator) -> Grid:
    """A rival at 85 % and me at 84 %; a third submitter enters puppets at 91 %, all alike but for a few answers."""
    rows = []
    for number in (0, 1, 3, 10, 30):
        worst, moved = 0, 0
        for _ in range(boards):
            rival, me = board(draw, 2, 0.85, 0.5)
            entered = board(draw, number, 0.91, 0.9, family="puppets") if number else []
            found = ranks([rival, me, *entered])
            worst = max(worst, found[0].first)
            moved += (found[0].first > found[1].first) != (
                ranks([rival, me])[0].first > ranks([rival, me])[1].first
            )
        rows.append((str(number), str(worst), f"{100 * moved / boards:.2f}"))
    header = ("Puppets", "Lowest rank of the rival", "Boards on which they move it past me, %")
    return Grid("Puppets", header, tuple(rows), names=0)


def board(
    draw: np.random.Generator, models: int, accuracy: float, common: float, *, family: str | None = None
) -> list[Contestant]:
    """Equally good models, which answer a part of the questions alike."""
    alike = draw.uniform(size=QUESTIONS) < common
    shared = draw.uniform(size=QUESTIONS) < accuracy
    own = draw.uniform(size=(models, QUESTIONS)) < accuracy
    rights: NDArray[np.bool_] = np.where(alike, shared, own)
    return [
        Contestant(
            family or f"model {row}",
            {f"q{k}": Counted(bool(right), f"i{k}") for k, right in enumerate(line)},
        )
        for row, line in enumerate(rights)
    ]


if __name__ == "__main__":
    main()

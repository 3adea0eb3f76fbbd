"""How nearly two models begin their attacks: copies whose weights hardly changed, and different checkpoints.

`python benchmarks/near_copies.py` makes copies of a shipped checkpoint and prints on how many questions their first
losses under PGD are within 3 % of its own, then the same for every two submissions of a board. Minutes of one thread.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

import medrobust_bench
from medrobust_bench.leaderboard.checks.neighbours import BEGINNING, beginnings, nearly
from medrobust_bench.leaderboard.evidence import read_beside
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.models.cards import read_cards
from medrobust_bench.reports.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Beginnings = Mapping[str, tuple[float, ...]]
    Change = Callable[[torch.Tensor], torch.Tensor]

ROOT = Path(__file__).parents[1]
CHECKPOINTS = Path(medrobust_bench.__file__).parent / "checkpoints"

CHANGES: dict[str, Change] = {
    "0.01 % of noise on every weight": lambda weights: weights * (1 + 1e-4 * torch.randn_like(weights)),
    "0.1 % of noise on every weight": lambda weights: weights * (1 + 1e-3 * torch.randn_like(weights)),
    "1 % of noise on every weight": lambda weights: weights * (1 + 1e-2 * torch.randn_like(weights)),
    "weights rounded to bfloat16": lambda weights: weights.to(torch.bfloat16).to(weights.dtype),
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="tiny-sft-letter", help="a shipped checkpoint")
    parser.add_argument("--questions", type=int, default=24)
    arguments = parser.parse_args()
    print(copies(arguments.model, arguments.questions).markdown())
    print()
    print(submissions("pgd-linf").markdown())


def copies(model: str, questions: int) -> Grid:
    """A checkpoint against copies of it."""
    with tempfile.TemporaryDirectory() as folder:
        own = _first_losses(CHECKPOINTS / model, Path(folder) / "own", model, questions)
        rows = []
        for number, (name, change) in enumerate(CHANGES.items()):
            copy = Path(folder) / f"copy-{number}"
            shutil.copytree(CHECKPOINTS / model, copy)
            for file in copy.glob("*.safetensors"):
                torch.manual_seed(0)
                changed = {key: change(value).contiguous() for key, value in load_file(file).items()}
                save_file(changed, file, metadata={"format": "pt"})
            rows.append((name, _alike(own, _first_losses(copy, copy / "run", model, questions))))
    return Grid("", (f"Copy of {model}", "Alike"), tuple(rows), names=1)


def submissions(threat: str) -> Grid:
    """Every two accepted submissions of a board."""
    found = [
        (one.result.model.id, beginnings(proof.threat))
        for one in read_results(ROOT / "leaderboards" / "submissions", cards=read_cards())
        if one.result.threat.name == threat
        and one.entry is not None
        and (proof := read_beside(one.path, one.entry)) is not None
    ]
    rows = tuple((a, b, _alike(mine, theirs)) for (a, mine), (b, theirs) in combinations(found, 2))
    return Grid("", ("Model", "Another", "Alike"), rows, names=2)


def _first_losses(source: Path, out: Path, card: str, questions: int) -> Beginnings:
    run = medrobust_bench.evaluate(
        model=str(source),
        threats=f"pgd-linf:steps={BEGINNING - 1}",
        data="phantoms",
        limit=questions,
        answer_mode=read_cards()[card].answer_mode,
        out=out,
    )
    (attacked,) = (outcomes for (_model, threat), outcomes in run.outcomes.items() if threat != "clean")
    return beginnings(attacked)


def _alike(one: Beginnings, other: Beginnings) -> str:
    shared = one.keys() & other.keys()
    alike = sum(nearly(one[name], other[name]) for name in shared)
    return f"{alike} of {len(shared)}"


if __name__ == "__main__":
    main()

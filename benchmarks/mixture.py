"""Does training on a mixture of threats help? The tables of docs/at_grpo.md, "A mixture of threats".

    for seed in 0 1 2; do
      for arm in mixture ball; do
        medrobust train at-sft tiny-$arm-at-sft --seed $seed --out runs/tiny-$arm-at-sft-$seed
      done
    done
    for model in tiny-at-sft runs/tiny-{mixture,ball}-at-sft-[0-9]; do
      medrobust run --model $model --answer-mode reasoning --data phantoms --limit 100 --threat pgd-linf \\
        --threat patch --threat corruptions-quick --threat corruptions-worst --out runs/evaluation/$(basename $model)
    done
    python -m benchmarks.mixture runs runs/evaluation

Seeds that have not been trained and evaluated yet are left out, and the tables say of how many seeds each row is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.clinic import Measured, decisive_grid
from benchmarks.defence import Arm, answers, check_comparable, images_of, outcomes, percent, read_arm
from benchmarks.page import trainings_parser, write_tables
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.reports.grid import Grid
from medrobust_bench.reports.seeds import over_seeds
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.runs.run import Run

PAGE, START = Path("docs/at_grpo.md"), "tiny-at-sft"
ARMS = {"tiny-ball-at-sft": "the ball alone", "tiny-mixture-at-sft": "the mixture"}
ATTACKS = ("pgd-linf", "patch", "worst-case")
COLUMNS = ("clean", *ATTACKS, "corruptions-quick", "corruptions-worst", "every threat")


def measures(run: Run) -> dict[str, NDArray[np.float64]]:
    """By column the share of each question's images that were answered right; of all but corruptions-quick 0 or 1.

    `worst-case` is the run's own, over its attacks; "every threat" holds what stands under them and the worst fault.
    """
    found = {
        name: np.array([outcome.share_right for outcome in outcomes(run, name)], dtype=float)
        for name in COLUMNS[:-1]
    }
    return found | {COLUMNS[-1]: np.minimum(found["worst-case"], found["corruptions-worst"])}


def accuracy_grid(start: Run, arms: Sequence[Arm]) -> Grid:
    """Accuracy of the start and of every arm, with intervals over seeds and questions, and their differences."""
    images = images_of(start, answers)
    found = {"the start, " + START: [measures(start)]}
    found |= {ARMS[arm.name]: [measures(run) for run in arm.evaluations] for arm in arms}
    rows = [(name, str(len(runs)), *_cells(runs, None, images)) for name, runs in found.items()]
    for before, now in ((before, now) for now in found for before in found):
        if list(found).index(before) < list(found).index(now):
            rows.append((f"{now} less {before}", "", *_cells(found[now], found[before], images)))
    return Grid("Mixture", ("Trained on", "Seeds", *COLUMNS), tuple(rows), names=1)


def _cells(
    now: Sequence[Mapping[str, NDArray[np.float64]]],
    before: Sequence[Mapping[str, NDArray[np.float64]]] | None,
    images: Sequence[str],
) -> list[str]:
    cells = []
    for column in COLUMNS:
        right = np.stack([one[column] for one in now])
        held = None if before is None else np.stack([one[column] for one in before])
        estimate = percent(over_seeds(right, held, images=images), signed=before is not None)
        each = "; " + " ".join(f"{100 * share:.1f}" for share in right.mean(1))
        cells.append(estimate + (each if before is None and len(right) > 1 else ""))
    return cells


def fault_grid(start: Run, arms: Sequence[Arm]) -> Grid:
    """Which faults broke an answer first under corruptions-worst."""
    runs = (start, *(run for arm in arms for run in arm.evaluations))
    found = {run.models[0]: {threat: rows for (_, threat), rows in run.outcomes.items()} for run in runs}
    return decisive_grid({name: Measured({}, answered) for name, answered in found.items()})


def cost_grid(arms: Sequence[Arm]) -> Grid:
    """What each arm cost beyond the start, and how it ended by its own log; means over its seeds."""
    rows = []
    for arm in arms:
        ends = [curve[-1] for curve in arm.curves]
        forward, backward, seconds, clean, attacked = (
            float(np.mean([end[name] for end in ends]))
            for name in (
                "passes/forward",
                "passes/backward",
                "passes/cpu_seconds",
                "validation_accuracy",
                "validation_attacked",
            )
        )
        passes = (f"{forward:.2f}", f"{backward:.2f}", f"{forward + backward:.2f}", f"{seconds:.0f}")
        validation = (f"{100 * clean:.1f}", f"{100 * attacked:.1f}")
        rows.append((ARMS[arm.name], str(len(ends)), str(ends[0]["step"]), *passes, *validation))
    header = ("Trained on", "Seeds", "Steps", "Forward", "Backward", "Together", "CPU seconds")
    return Grid("Cost", (*header, "Validation, clean", "Inner attack, the ball"), tuple(rows), names=1)


def main() -> None:
    """Write the tables, or print them."""
    arguments = trainings_parser(__doc__).parse_args()
    try:
        start = load_run(arguments.evaluations / START)
    except InvalidInputError as error:
        raise SystemExit(str(error)) from error
    arms = [read_arm(name, arguments.training, arguments.evaluations) for name in ARMS]
    arms = [arm for arm in arms if arm.evaluations]
    check_comparable([start, *(run for arm in arms for run in arm.evaluations)])
    grids = {
        "mixture-cost": cost_grid(arms),
        "mixture-accuracy": accuracy_grid(start, arms),
        "mixture-faults": fault_grid(start, arms),
    }
    tables = {name: grid.markdown() for name, grid in grids.items()}
    if arguments.print:
        print("\n\n".join(tables.values()))
        return
    write_tables(PAGE, tables)
    print(f"{PAGE} written")


if __name__ == "__main__":
    main()

"""What strengthens adversarial GRPO's weak signal: each remedy against its control at equal passes.

    for seed in 0 1 2; do
      for arm in tiny-rising-at-grpo tiny-rising-at-grpo-{dynamic,lean,strong,words,unscaled,wide,agreement}; do
        medrobust train at-grpo $arm --seed $seed --out runs/$arm-$seed
      done
    done
    for seed in 3 4 5; do
      medrobust train at-grpo tiny-rising-at-grpo --seed $seed --out runs/tiny-rising-at-grpo-$seed
    done
    for model in tiny-sft-reasoning runs/tiny-rising-at-grpo*-[0-9]; do
      medrobust run --model $model --answer-mode reasoning --data phantoms --limit 200 \\
        --threat pgd-linf:eps=2/255 --out runs/evaluation/$(basename $model)
    done
    python -m benchmarks.remedies runs runs/evaluation

The control is trained on the same machine, six times: three of its seeds say how lucky the other three were. Seeds that
are not evaluated yet are left out, and the table says of how many each row is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.defence import (
    PAGE,
    START,
    Arm,
    check_comparable,
    columns,
    headings,
    images_of,
    mean_of,
    passes,
    percent,
    read_arm,
)
from benchmarks.page import trainings_parser, write_tables
from medrobust_bench.reports.grid import Grid
from medrobust_bench.reports.seeds import over_seeds
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTROL = "tiny-rising-at-grpo"
REMEDIES = {
    "dynamic": "dynamic sampling, 16 of 32 groups",
    "lean": "dynamic sampling, 8 of 16 groups",
    "strong": "inner attack of 6 steps",
    "words": "inner attack on the words that decide",
    "unscaled": "advantage not divided",
    "wide": "groups of 16, half the prompts",
    "agreement": "reward for the clean answer",
}
THREATS = ("clean", "pgd-linf:eps=2/255")
WHOLE, LAST_THIRD = slice(0, 3), slice(2, 3)
SIGNAL = {
    "groups_without_variance": ("groups without variance", WHOLE),
    "kept_without_variance": ("of those trained on", WHOLE),
    "grad_norm": ("gradient norm", WHOLE),
    "attack/loss_after": ("inner attack, loss after (nats)", WHOLE),
    "robust_accuracy": ("right rollouts, attacked, last third", LAST_THIRD),
}


def cells(arm: Arm, held: Arm | None = None, *, seeds: bool = True) -> list[str]:
    """Accuracies of an arm, or what they are more than another's, with intervals over seeds and questions.

    Args:
        arm: the arm.
        held: what it is held against; None for nothing.
        seeds: add the accuracy of each of its seeds.
    """
    told = []
    for measure, threat in columns(THREATS):
        right = np.stack([measure(run, threat) for run in arm.evaluations])
        before = None if held is None else np.stack([measure(run, threat) for run in held.evaluations])
        found = over_seeds(right, before, images=images_of(arm.evaluations[0], measure))
        each = "; " + " ".join(f"{100 * share:.1f}" for share in right.mean(1))
        told.append(percent(found, signed=before is not None) + (each if seeds and len(right) > 1 else ""))
    return told


def difference_grid(start: Arm, control: Arm, remedies: Sequence[Arm]) -> Grid:
    """The start, the control, and every remedy less it, with each seed's accuracy, of a remedy too."""
    held = {"the start, " + START: (start, None), "the control, " + CONTROL: (control, None)}
    held |= {f"{title_of(arm)}, less the control": (arm, control) for arm in remedies}
    rows = [(title, str(len(arm.evaluations)), *cells(arm, less)) for title, (arm, less) in held.items()]
    return Grid("Remedies", ("Trained by", "Seeds", *headings(THREATS)), tuple(rows), names=1)


def gain_grid(start: Arm, arms: Sequence[Arm]) -> Grid:
    """What every arm has more than the start."""
    rows = [
        (f"{title_of(arm)}, less the start", str(len(arm.evaluations)), *cells(arm, start, seeds=False))
        for arm in arms
    ]
    return Grid("Gain", ("Trained by", "Seeds", *headings(THREATS)), tuple(rows), names=1)


def signal_grid(arms: Sequence[Arm]) -> Grid:
    """What each arm cost and what its trainer logged, mean over seeds."""
    rows = []
    for arm in arms:
        last = [curve[-1] for curve in arm.curves]
        logged = [mean_of(arm.curves, name, part) for name, (_, part) in SIGNAL.items()]
        cost = (np.mean([passes(entry) for entry in last]), np.mean([e["passes/cpu_seconds"] for e in last]))
        rows.append((title_of(arm), str(last[0]["step"]), f"{cost[0]:.2f}", f"{cost[1]:.0f}", *logged))
    header = ("Trained by", "Steps", "Passes (million tokens)", "CPU seconds")
    return Grid("Signal", (*header, *(label for label, _ in SIGNAL.values())), tuple(rows), names=1)


def title_of(arm: Arm) -> str:
    return REMEDIES.get(arm.name.removeprefix(CONTROL + "-"), "the control")


def main() -> None:
    arguments = trainings_parser(__doc__).parse_args()
    names = (CONTROL, *(f"{CONTROL}-{remedy}" for remedy in REMEDIES))
    arms = [read_arm(name, arguments.training, arguments.evaluations) for name in names]
    control, *remedies = arms
    if not control.evaluations:
        raise SystemExit(f"{arguments.evaluations} holds no run of the control, {CONTROL}-SEED")
    remedies = [arm for arm in remedies if arm.evaluations]
    start = Arm(START, (), (load_run(arguments.evaluations / START),))
    check_comparable([run for arm in (start, control, *remedies) for run in arm.evaluations])
    grids = {
        "remedies": difference_grid(start, control, remedies),
        "remedies-gain": gain_grid(start, [control, *remedies]),
        "remedies-signal": signal_grid([control, *remedies]),
    }
    tables = {name: grid.markdown() for name, grid in grids.items()}
    if arguments.print:
        print("\n\n".join(tables.values()))
        return
    write_tables(PAGE, tables)
    print(f"{PAGE} written")


if __name__ == "__main__":
    main()

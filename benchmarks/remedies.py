"""What strengthens adversarial GRPO's weak signal: each remedy against its control at equal passes, three seeds.

    for seed in 0 1 2; do
      for arm in tiny-rising-at-grpo tiny-rising-at-grpo-{dynamic,lean,strong,words,unscaled,wide,agreement}; do
        medrobust train at-grpo $arm --seed $seed --out runs/$arm-$seed
      done
    done
    for model in tiny-sft-reasoning runs/tiny-rising-at-grpo*-[0-9]; do
      medrobust run --model $model --answer-mode reasoning --data phantoms --limit 200 \\
        --threat pgd-linf:eps=2/255 --out runs/evaluation/$(basename $model)
    done
    python -m benchmarks.remedies runs runs/evaluation

The control is trained beside the remedies, on the same machine. Seeds that are not evaluated yet are left out, and the
table says of how many each row is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.defence import (
    PAGE,
    START,
    Arm,
    columns,
    headings,
    images_of,
    mean_of,
    passes,
    percent,
    read_arm,
    same_questions,
)
from benchmarks.page import trainings_parser, write_tables
from medrobust_bench.reports.grid import Grid
from medrobust_bench.reports.seeds import over_seeds
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.runs.run import Run

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


def difference_grid(start: Run, control: Arm, remedies: Sequence[Arm]) -> Grid:
    """The start, the control, and every remedy less it, with intervals over seeds and questions.

    Then each seed's accuracy, of a remedy too.
    """

    def row(arm: Arm, held: Arm | None) -> tuple[str, ...]:
        cells = []
        for measure, threat in columns(THREATS):
            right = np.stack([measure(run, threat) for run in arm.evaluations])
            before = None if held is None else np.stack([measure(run, threat) for run in held.evaluations])
            found = over_seeds(right, before, images=images_of(start, measure))
            each = "; " + " ".join(f"{100 * share:.1f}" for share in right.mean(1))
            cells.append(percent(found, signed=before is not None) + (each if len(right) > 1 else ""))
        return (str(len(arm.evaluations)), *cells)

    rows = [("the start, " + START, *row(Arm(START, (), (start,)), None))]
    rows += [("the control, " + CONTROL, *row(control, None))]
    rows += [(f"{title_of(arm)}, less the control", *row(arm, control)) for arm in remedies]
    return Grid("Remedies", ("Trained by", "Seeds", *headings(THREATS)), tuple(rows), names=1)


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
    start = load_run(arguments.evaluations / START)
    same_questions([start, *(run for arm in (control, *remedies) for run in arm.evaluations)])
    grids = {
        "remedies": difference_grid(start, control, remedies),
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

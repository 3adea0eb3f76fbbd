"""Robust and not blind: trainings on real images with and without exchanged prompts, table and figure.

    for seed in 0 1 2; do
      for arm in omni omni-exchange; do
        medrobust train sft $arm-sft --data SUBSET --seed $seed --out runs/$arm-sft-$seed
        medrobust train at-sft $arm-at-sft --data SUBSET --seed $seed \\
          --base runs/$arm-sft-$seed --out runs/$arm-at-sft-$seed
        medrobust train at-grpo $arm-at-grpo --data SUBSET --seed $seed \\
          --base runs/$arm-at-sft-$seed --out runs/$arm-at-grpo-$seed
      done
    done
    for seed in 0 1 2; do
      medrobust train at-sft omni-robust-at-sft --data SUBSET --seed $seed --out runs/omni-robust-at-sft-$seed
      medrobust train at-sft omni-robust-exchange-at-sft --data SUBSET --seed $seed \\
        --out runs/omni-robust-exchange-at-sft-$seed
    done
    for model in runs/omni-*-[0-9]; do
      medrobust run --model $model --answer-mode reasoning --data SUBSET --threat pgd-linf \\
        --out runs/evaluation/$(basename $model)
    done
    python -m benchmarks.dependence runs runs/evaluation

What has not been evaluated yet is left out, and the table says of how many seeds each row is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from benchmarks.defence import (
    Arm,
    answers,
    asked_without_image,
    check_comparable,
    credited,
    images_of,
    passes,
    percent,
    read_arm,
)
from benchmarks.page import trainings_parser, write_tables
from medrobust_bench.reports.grid import MISSING, Grid
from medrobust_bench.reports.run_page.figures import LIGHT
from medrobust_bench.reports.seeds import over_seeds
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.settings import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.runs.run import Run

PAGE, FIGURE, THREAT = Path("docs/reproduction.md"), Path("docs/dependence.png"), "pgd-linf"
ARMS = {
    "omni-sft": "fine-tuning",
    "omni-exchange-sft": "the same, exchanged prompts",
    "omni-at-sft": "then adversarial fine-tuning",
    "omni-exchange-at-sft": "the same, exchanged prompts",
    "omni-robust-at-sft": "adversarial fine-tuning from a robust start",
    "omni-robust-exchange-at-sft": "from a robust start, exchanged prompts",
    "omni-at-grpo": "then adversarial GRPO",
    "omni-exchange-at-grpo": "the same, exchanged prompts, reward for dependence",
}
# what a recipe goes on from, where that was trained on the same images
BASES = {
    "omni-at-sft": "omni-sft",
    "omni-exchange-at-sft": "omni-exchange-sft",
    "omni-at-grpo": "omni-at-sft",
    "omni-exchange-at-grpo": "omni-exchange-at-sft",
}
PAIRS = tuple(zip(list(ARMS)[::2], list(ARMS)[1::2], strict=True))
# in words, what is compared with what
DIFFERENCES = {
    **{f"{ARMS[before]}: with exchanged prompts less without": (now, before) for before, now in PAIRS},
    "adversarial GRPO less what it goes on from": ("omni-at-grpo", "omni-at-sft"),
    "the same, exchanged prompts": ("omni-exchange-at-grpo", "omni-exchange-at-sft"),
}


def measures(run: Run) -> dict[str, NDArray[np.float64]]:
    """By column whether each question is right; for credit those alone that were also asked without their image."""
    found = {
        "Clean": answers(run, "clean"),
        THREAT: answers(run, THREAT),
        "Clean, credited": credited(run, "clean"),
        f"{THREAT}, credited": credited(run, THREAT),
    }
    return {column: right.astype(float) for column, right in found.items()}


def grid(arms: Mapping[str, Sequence[Run]]) -> Grid:
    """Every arm's accuracies with intervals over seeds and questions and each seed, and below them the differences."""
    runs = [run for seeds in arms.values() for run in seeds]
    whole, part = (images_of(runs[0], measure) for measure in (answers, credited))
    found = {name: [measures(run) for run in seeds] for name, seeds in arms.items()}
    columns = list(measures(runs[0]))

    def cell(now: str, before: str | None, column: str) -> str:
        right = np.stack([one[column] for one in found[now]])
        held = None if before is None else np.stack([one[column] for one in found[before]])
        estimate = over_seeds(right, held, images=part if "credited" in column else whole)
        each = "; " + " ".join(f"{100 * share:.1f}" for share in right.mean(1)) if before is None else ""
        return percent(estimate, signed=before is not None) + (each if len(right) > 1 else "")

    rows = [
        (ARMS[name], str(len(arms[name])), *(cell(name, None, column) for column in columns)) for name in arms
    ]
    rows += [
        (words, "", *(cell(now, before, column) for column in columns))
        for words, (now, before) in DIFFERENCES.items()
        if now in arms and before in arms
    ]
    return Grid("Dependence", ("Trained by", "Seeds", *columns), tuple(rows), names=1)


LOGGED = {
    "loss": "Loss (nats)",
    "validation_accuracy": "Own image",
    "validation_attacked": "Own image, inner attack",
    "validation_exchanged": "Another's image",
}


def validation_grid(training: Path) -> Grid:
    """How each finished training ended by its own log: loss, and validation accuracy in per cent, each seed."""
    rows = []
    for name in ARMS:
        folders = [
            folder for folder in sorted(training.glob(f"{name}-[0-9]")) if (folder / "config.json").is_file()
        ]
        ends = [StepLog(folder / CURVE_FILE).entries()[-1] for folder in folders]
        if ends:
            rows.append((ARMS[name], str(len(ends)), *(_each(ends, logged) for logged in LOGGED)))
    return Grid("Validation", ("Trained by", "Seeds", *LOGGED.values()), tuple(rows), names=1)


def _each(ends: Sequence[Mapping[str, float]], logged: str) -> str:
    objective_of_grpo = logged == "loss" and any("reward" in end for end in ends)  # no likelihood
    if objective_of_grpo or any(logged not in end for end in ends):
        return MISSING
    return " ".join(f"{end[logged]:.2f}" if logged == "loss" else f"{100 * end[logged]:.1f}" for end in ends)


def spent(training: Path, recipe: str, seed: str) -> float:
    """Million tokens forward and backward until a model was trained, with what it goes on from."""
    last = StepLog(training / f"{recipe}-{seed}" / CURVE_FILE).entries()[-1]
    return passes(last) + (spent(training, BASES[recipe], seed) if recipe in BASES else 0)


def draw(training: Path, arms: Sequence[Arm]) -> Figure:
    """Accuracy under attack and what of it is credited to the image against passes, a dot a seed."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor=LIGHT.paper)
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    numbers = {name: number for number, pair in enumerate(PAIRS) for name in pair}
    for arm in arms:
        style = LIGHT.dots(numbers[arm.name])
        exchanged = "exchange" in arm.name
        label = next(ARMS[pair[0]] for pair in PAIRS if arm.name in pair)
        cost = [spent(training, *run.folder.name.rsplit("-", 1)) for run in arm.evaluations]
        for panel, measure in zip(panels, (answers, credited), strict=True):
            panel.plot(
                cost,
                [100 * measure(run, THREAT).mean() for run in arm.evaluations],
                linestyle="none",
                fillstyle="full" if exchanged else "none",
                label=f"{label}{', exchanged prompts' if exchanged else ''}",
                **style,
            )
    asked = len(answers(arms[0].evaluations[0], THREAT))
    without = len(asked_without_image(arms[0].evaluations[0]))
    panels[0].set(title=f"{THREAT}, {asked} test questions", ylabel="right (%)", ylim=(0, 100))
    panels[1].set(title=f"{THREAT}, credited to the image, {without} of them")
    for panel in panels:
        panel.set(xlabel="forward and backward passes (million tokens)")
        panel.set_xlim(left=0)
        panel.grid(color=LIGHT.faint, linewidth=0.6)
    panels[1].legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Write the tables and the figure, or print the tables."""
    arguments = trainings_parser(__doc__).parse_args()
    arms = [read_arm(name, arguments.training, arguments.evaluations) for name in ARMS]
    arms = [arm for arm in arms if arm.evaluations]
    if not arms:
        raise SystemExit(f"{arguments.evaluations} holds no evaluation of {', '.join(ARMS)}")
    check_comparable([run for arm in arms for run in arm.evaluations])
    grids = {
        "dependence": grid({arm.name: arm.evaluations for arm in arms}),
        "dependence-validation": validation_grid(arguments.training),
    }
    tables = {name: one.markdown() for name, one in grids.items()}
    if arguments.print:
        print("\n\n".join(tables.values()))
        return
    write_tables(PAGE, tables)
    draw(arguments.training, arms).savefig(FIGURE, dpi=150, metadata={"Software": None})
    print(f"{PAGE} and {FIGURE} written")


if __name__ == "__main__":
    main()

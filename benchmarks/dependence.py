"""Robust and not blind: trainings on real images with and without exchanged prompts, a table of docs/reproduction.md.

    for seed in 0 1 2; do
      for arm in omni omni-exchange; do
        medrobust train sft $arm-sft --data SUBSET --seed $seed --out runs/$arm-sft-$seed
        medrobust train at-sft $arm-at-sft --data SUBSET --seed $seed \\
          --base runs/$arm-sft-$seed --out runs/$arm-at-sft-$seed
        medrobust train at-grpo $arm-at-grpo --data SUBSET --seed $seed \\
          --base runs/$arm-at-sft-$seed --out runs/$arm-at-grpo-$seed
      done
    done
    for model in runs/omni-*-[0-9]; do
      medrobust run --model $model --answer-mode reasoning --data SUBSET --threat pgd-linf \\
        --out runs/evaluation/$(basename $model)
    done
    python -m benchmarks.dependence runs/evaluation

What has not been evaluated yet is left out, and the table says of how many seeds each row is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.defence import outcomes, percent, same_questions
from benchmarks.reproduction import replaced
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.reports.grid import Grid
from medrobust_bench.reports.seeds import over_seeds
from medrobust_bench.runs.audit.blindness import dependent_answers, sampled_questions
from medrobust_bench.runs.run import Run, load_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PAGE, MARKER, THREAT = Path("docs/reproduction.md"), "dependence", "pgd-linf"
ARMS = {
    "omni-sft": "fine-tuning",
    "omni-exchange-sft": "the same, exchanged prompts",
    "omni-at-sft": "then adversarial fine-tuning",
    "omni-exchange-at-sft": "the same, exchanged prompts",
    "omni-at-grpo": "then adversarial GRPO",
    "omni-exchange-at-grpo": "the same, exchanged prompts, reward for dependence",
}
PAIRS = tuple(zip(list(ARMS)[::2], list(ARMS)[1::2], strict=True))


def asked_without_image(run: Run) -> list[str]:
    """The questions that credit is about, in order of their ids."""
    questions = [outcome.question for outcome in outcomes(run, "clean")]
    return sorted(sampled_questions(questions, seed=run.record.plan.settings.seed))


def measures(run: Run) -> dict[str, NDArray[np.float64]]:
    """By column whether each question is right; for credit those alone that were also asked without their image."""
    clean, attacked = outcomes(run, "clean"), outcomes(run, THREAT)
    asked = asked_without_image(run)
    depends = dependent_answers(clean, set(asked))
    robust = {outcome.question: outcome.correct for outcome in attacked}
    return {
        "Clean": np.array([outcome.correct for outcome in clean], dtype=float),
        THREAT: np.array([outcome.correct for outcome in attacked], dtype=float),
        "Clean, credited": np.array([depends[question] for question in asked], dtype=float),
        f"{THREAT}, credited": np.array([depends[q] and robust[q] for q in asked], dtype=float),
    }


def images_of(run: Run, questions: Sequence[str]) -> list[str]:
    """Which image each question is about."""
    shown = {outcome.question: outcome.image_sha256 for outcome in outcomes(run, "clean")}
    return [shown[question] for question in questions]


def grid(arms: Mapping[str, Sequence[Run]]) -> Grid:
    """Every arm's accuracies with intervals over seeds and questions and each seed, and below them the differences."""
    runs = [run for seeds in arms.values() for run in seeds]
    questions = [outcome.question for outcome in outcomes(runs[0], "clean")]
    whole, part = (images_of(runs[0], ids) for ids in (questions, asked_without_image(runs[0])))
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
        (
            f"{ARMS[before]}: with exchanged prompts less without",
            "",
            *(cell(now, before, column) for column in columns),
        )
        for before, now in PAIRS
        if now in arms and before in arms
    ]
    return Grid("Dependence", ("Trained by", "Seeds", *columns), tuple(rows), names=1)


def main() -> None:
    """Write the table, or print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluations", type=Path, help="folder of the runs, RECIPE-SEED each")
    parser.add_argument("--print", action="store_true", help="print the table instead of writing the page")
    arguments = parser.parse_args()
    arms: dict[str, list[Run]] = {}
    for name in ARMS:
        for folder in sorted(arguments.evaluations.glob(f"{name}-[0-9]")):
            try:
                run = load_run(folder)
            except InvalidInputError as error:
                print(f"left out: {error}")
            else:
                arms.setdefault(name, []).append(run)
    if not arms:
        raise SystemExit(f"{arguments.evaluations} holds no evaluation of {', '.join(ARMS)}")
    same_questions([run for seeds in arms.values() for run in seeds])
    table = grid(arms).markdown()
    if arguments.print:
        print(table)
        return
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, table), encoding="utf-8")
    print(f"{PAGE} written")


if __name__ == "__main__":
    main()

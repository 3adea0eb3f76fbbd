"""Whether a peer breaks what an attack of ours leaves standing, question by question.

    pip install torchattacks foolbox
    medrobust run --model safemed-r1-tiny-instruct --limit 100 --threat auto-linf --out runs/auto
    python -m benchmarks.attack_strength runs/auto

Peers attack the questions of a finished run that stood: PGD of stock ART, torchattacks and foolbox, with the official
ε (8/255), step size and steps and one random start, on the model as `from_pretrained` gives it. Their images are
rounded into the budget and answered on the deployed path, like ours.

A reasoning model is no classifier: its peers attack the answer letter after an empty rationale, while the verdict is
on the answer that it generates.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tabulate import tabulate

from benchmarks.attack_speed import (
    contest_of,
    foolbox_pgd,
    still_right,
    stock_art,
    torchattacks_pgd,
)
from medrobust_bench.data.reopen import reopen
from medrobust_bench.models.registry import resolve
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from benchmarks.attack_speed import Attack
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.cards import Card
    from medrobust_bench.runs.run import Run


def standing(run: Run, model: str, threat: str) -> list[Question]:
    """The questions of a run that an attack left standing."""
    stood = {outcome.question for outcome in run.outcomes[model, threat] if outcome.correct}
    return [question for question in reopen(run.record.plan).questions if question.id in stood]


def broken(card: Card, questions: list[Question], attacks: dict[str, Attack]) -> dict[str, int]:
    """How many of the questions each attack breaks."""
    contest = contest_of(card, questions)
    return {
        name: len(contest.answers) - still_right(contest, attack(contest)) for name, attack in attacks.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--threat", default="auto-linf", help="the attack of that run")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    run = load_run(arguments.run)
    eps, step, steps = 8 / 255, 2 / 255, arguments.steps
    attacks = {
        "stock ART": stock_art(eps, step, steps),
        "torchattacks": torchattacks_pgd(eps, step, steps),
        "foolbox": foolbox_pgd(eps, step, steps),
    }
    for model in run.record.plan.models:
        questions = standing(run, model, arguments.threat)
        print(f"{model}: {arguments.threat} leaves {len(questions)} of {run.record.plan.data.n} standing")
        if questions:
            counts = broken(resolve(model), questions, attacks)
            print(tabulate(counts.items(), headers=("PGD by", "breaks of these"), tablefmt="pipe"), "\n")


if __name__ == "__main__":
    main()

"""The paper's table on the shipped models: writes the tables of docs/reproduction.md, its figure, and a line per card.

    medrobust run benchmarks/reproduction.yaml --out runs/reproduction
    medrobust run benchmarks/reproduction_threats.yaml --out runs/reproduction-threats
    python benchmarks/reproduction.py --pgd runs/reproduction --threats runs/reproduction-threats

Either option takes several runs, each with other models, on the same questions.
"""

from __future__ import annotations

import argparse
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.page import write_tables
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.reports.comparison import compare
from medrobust_bench.reports.comparison_tables import NOTE, whole_grid
from medrobust_bench.reports.grid import with_interval
from medrobust_bench.reports.run_page.figures import LIGHT, eps_figures
from medrobust_bench.reports.tables import accuracy_grid, measured, modality_grid
from medrobust_bench.runs.run import Run, load_run

if TYPE_CHECKING:
    from medrobust_bench.records import Result

PAGE, FIGURE, CARDS = Path("docs/reproduction.md"), Path("docs/robust_accuracy.png"), Path("model_cards")

# (held against, looked at)
PAIRS = (
    ("tiny-sft-letter", "tiny-sft-reasoning"),
    ("tiny-sft-reasoning", "safemed-r1-tiny"),
    ("tiny-at-sft", "safemed-r1-tiny"),
    ("tiny-grpo", "safemed-r1-tiny"),
    ("safemed-r1-tiny-instruct", "safemed-r1-tiny"),
)


def comparisons(runs: list[Run]) -> str:
    """The paired tests, over the threats that both runs have."""
    by_model = {model: run for run in runs for model in run.record.plan.models}
    parts = []
    for before, after in PAIRS:
        if before in by_model and after in by_model:
            old, new = by_model[before], by_model[after]
            shared = [t.name for t in old.threats if t.name in {other.name for other in new.threats}]
            (comparison,) = compare(old, new, pairs=[(before, after)], threats=shared)
            grid = whole_grid(comparison)
            parts += [f"**{grid.title}**", grid.markdown()]
    return "\n\n".join([*parts, NOTE])


def write_measured(results: list[Result]) -> None:
    """Renew the line "Measured on …" of the models' cards."""
    for result in results:
        robust = result.metrics.robust_accuracy
        if robust is None:
            continue
        card = CARDS / f"{result.model.id}.md"
        clean = with_interval(result.metrics.clean_accuracy)
        line = (
            f"Measured on {result.data.n} phantoms of the test split: {clean} % right, {with_interval(robust)} % under "
            f"`{result.threat.name}`\n([everything measured](../docs/reproduction.md))."
        )
        text, count = re.subn(
            r"^Measured on.*?$\n(?:\(.*\n)?",
            line + "\n",
            card.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
        if count != 1:
            raise SystemExit(f"{card} needs one line 'Measured on …'")
        card.write_text(text, encoding="utf-8")


def is_linf_pgd(result: Result) -> bool:
    """Whether the figure shows a result: clean accuracy, and PGD of any size in L∞."""
    threat = result.threat
    return threat is None or (threat.kind, threat.model_dump().get("norm")) == ("pgd", "linf")


def read_runs(folders: list[Path]) -> list[Run]:
    """The runs, which must have asked the same questions."""
    try:
        runs = [load_run(folder) for folder in folders]
    except InvalidInputError as error:
        raise SystemExit(str(error)) from error
    for one, other in pairwise(runs):
        if one.record.plan.data.digest != other.record.plan.data.digest:
            raise SystemExit(f"{one.folder} and {other.folder} asked different questions")
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, what in (("--pgd", "under pgd-linf"), ("--threats", "under every threat")):
        parser.add_argument(option, nargs="+", type=Path, metavar="RUN", required=True, help=what)
    arguments = parser.parse_args()
    pgd, threats = read_runs(arguments.pgd), read_runs(arguments.threats)
    under_pgd = [result for run in pgd for result in run.results]
    order = [result.model.id for result in under_pgd]
    if strangers := {model for run in threats for model in run.record.plan.models} - set(order):
        raise SystemExit(f"--pgd has no run of {', '.join(sorted(strangers))}, which --threats has")
    under_threats = sorted(
        (result for run in threats for result in run.results), key=lambda result: order.index(result.model.id)
    )
    tables = {
        "accuracy": accuracy_grid(under_pgd).markdown(),
        "modality": modality_grid(under_pgd).markdown(),
        "comparison": comparisons(pgd),
        "threats": accuracy_grid(under_threats).markdown(),
    }
    write_tables(PAGE, tables)
    (figure,) = eps_figures(measured([result for result in under_threats if is_linf_pgd(result)]))
    FIGURE.write_bytes(figure.render(LIGHT, "png"))
    write_measured(under_pgd)
    print(f"{PAGE}, {FIGURE} and the cards' measured lines written")


if __name__ == "__main__":
    main()

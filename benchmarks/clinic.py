"""The shipped models under acquisition faults and injected text: the tables of docs/corruptions.md.

    medrobust run benchmarks/clinic.yaml --out runs/clinic
    python -m benchmarks.clinic runs/clinic

Takes several runs, each with other models, on the same questions.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from statsmodels.stats.multitest import multipletests

from benchmarks.reproduction import replaced
from medrobust_bench.reports.grid import MISSING, Grid, percent, with_interval
from medrobust_bench.reports.paired import exchange_p_value
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Outcome, Result

PAGE = Path("docs/corruptions.md")
SUITE, WORDS = "corruptions-quick", "injection"

# (undefended start, what came of it by a defence)
PAIRS = (
    ("tiny-sft-letter", "safemed-r1-tiny-instruct"),
    ("tiny-sft-reasoning", "tiny-noise-reasoning"),
    ("tiny-sft-reasoning", "tiny-at-sft"),
    ("tiny-sft-reasoning", "tiny-grpo"),
    ("tiny-sft-reasoning", "safemed-r1-tiny"),
)
MODELS = tuple(dict.fromkeys(name for pair in PAIRS for name in pair))


@dataclass(frozen=True)
class Measured:
    """One model: results and outcomes by threat."""

    results: dict[str, Result]
    outcomes: dict[str, tuple[Outcome, ...]]


def read(folders: Sequence[Path]) -> dict[str, Measured]:
    """The shipped models that the runs have, in their usual order."""
    found = {}
    for run in map(load_run, folders):
        for name in run.record.plan.models:
            results = {result.threat.name: result for result in run.results if result.model.id == name}
            outcomes = {threat: rows for (model, threat), rows in run.outcomes.items() if model == name}
            found[name] = Measured(results, outcomes)
    return {name: found[name] for name in MODELS if name in found}


def accuracy_grid(models: dict[str, Measured]) -> Grid:
    """Clean, under faults and under words, and under harmless texts in the place of the words."""
    rows = []
    for name, model in models.items():
        suite, words = model.results[SUITE].metrics, model.results[WORDS].metrics
        assert suite.corrupted_accuracy is not None
        assert words.robust_accuracy is not None
        controls = {one.control: one for one in words.controls}
        rows.append(
            (
                name,
                with_interval(suite.clean_accuracy),
                with_interval(suite.corrupted_accuracy),
                percent(suite.corrupted_accuracy.value / suite.clean_accuracy.value),
                with_interval(words.robust_accuracy),
                *(
                    f"{percent(controls[control].value)} (p {controls[control].p_value:.2g})"
                    if control in controls
                    else MISSING
                    for control in ("neutral", "right option")
                ),
            )
        )
    header = (
        "Model",
        "Clean",
        f"`{SUITE}`",
        "of the clean",
        f"`{WORDS}`",
        "neutral text there",
        "right option there",
    )
    return Grid("Accuracy", header, tuple(rows), names=1, raw=frozenset())


def difference_grid(models: dict[str, Measured]) -> Grid:
    """Every defence against its start, question by question."""
    tests = []
    for start, defended in PAIRS:
        if start in models and defended in models:
            for threat in ("clean", SUITE, WORDS):
                difference, p_value = paired(
                    models[start].outcomes[threat], models[defended].outcomes[threat]
                )
                tests.append((f"{defended} less {start}", threat, difference, p_value))
    corrected = multipletests([p_value for *_, p_value in tests], method="holm")[1]
    cells: dict[str, list[str]] = {}
    for (name, _, difference, p_value), holm in zip(tests, corrected, strict=True):
        text = f"{100 * difference:+.1f} (p {p_value:.2g}, Holm {holm:.2g})".replace("-", "−", 1)
        cells.setdefault(name, []).append(text if difference < 0 else text.replace("−", "-", 1))
    header = ("Difference in points", "Clean", f"`{SUITE}`", f"`{WORDS}`")
    return Grid("Differences", header, tuple((name, *found) for name, found in cells.items()), names=1)


def paired(before: Sequence[Outcome], now: Sequence[Outcome]) -> tuple[float, float]:
    """Difference in accuracy, and the p-value of "equally good": whole images exchanged between the models."""
    held = {outcome.question: outcome for outcome in before}
    differences = [outcome.share_right - held[outcome.question].share_right for outcome in now]
    p_value = exchange_p_value(differences, [outcome.cluster for outcome in now])
    return sum(differences) / len(differences), p_value


def kind_grid(models: dict[str, Measured]) -> Grid:
    """Accuracy by kind of fault."""
    found = {
        name: {one.kind: one for one in model.results[SUITE].metrics.by_corruption}
        for name, model in models.items()
    }
    kinds = sorted(
        {kind: one.n for by_kind in found.values() for kind, one in by_kind.items()}.items(),
        key=lambda item: (-item[1], item[0]),
    )
    clean = (f"clean (n {next(iter(models.values())).results[SUITE].data.n})",)
    rows = [(*clean, *(percent(model.results[SUITE].clean_accuracy.value) for model in models.values()))]
    rows += [
        (f"{kind} (n {n})", *(percent(by_kind[kind].value) for by_kind in found.values()))
        for kind, n in kinds
    ]
    return Grid("By fault", ("Fault, severity 3", *models), tuple(rows), names=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    given = parser.parse_args()
    models = read(given.runs)
    page = PAGE.read_text("utf-8")
    for name, grid in (
        ("accuracy", accuracy_grid(models)),
        ("differences", difference_grid(models)),
        ("kinds", kind_grid(models)),
    ):
        page = replaced(page, name, grid.markdown())
        print(grid.markdown(), end="\n\n")
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()

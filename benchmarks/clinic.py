"""The shipped models under acquisition faults and injected text: the tables of docs/corruptions.md.

    medrobust run benchmarks/clinic.yaml --out runs/clinic
    python -m benchmarks.clinic runs/clinic

Takes several runs, with other models or other threats, on the same questions; a table whose threats no run has is left
as it is.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from statsmodels.stats.multitest import multipletests

from benchmarks.page import write_tables
from medrobust_bench.reports.grid import MISSING, Grid, percent, points, with_interval
from medrobust_bench.reports.paired import exchange_p_value
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Outcome, Result

PAGE = Path("docs/corruptions.md")
SUITE, WORST, WORDS, FULL = "corruptions-quick", "corruptions-worst", "injection", "corruptions"
TEXTS = (WORDS, "injection-faint", "injection-border")
# (undefended model, defended one that answers in the same way)
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
    """The shipped models that the runs have, in their usual order; of a threat that several have, the last run's.

    Raises:
        ValueError: runs on different questions.
    """
    found: dict[str, Measured] = {}
    digests = set()
    for run in map(load_run, folders):
        digests.add(run.record.plan.data.digest)
        for name in run.record.plan.models:
            model = found.setdefault(name, Measured({}, {}))
            model.results.update({one.threat.name: one for one in run.results if one.model.id == name})
            model.outcomes.update({threat: rows for (of, threat), rows in run.outcomes.items() if of == name})
    if len(digests) > 1:
        raise ValueError(f"runs on {len(digests)} sets of questions")
    return {name: found[name] for name in MODELS if name in found}


def with_threats(models: dict[str, Measured], *threats: str) -> dict[str, Measured]:
    """The models that met all of these."""
    return {name: model for name, model in models.items() if model.results.keys() >= set(threats)}


def accuracy_grid(models: dict[str, Measured]) -> Grid:
    """Clean, under faults by chance and at their worst, and under words."""
    rows = []
    for name, model in models.items():
        suite = model.results[SUITE].metrics
        assert suite.corrupted_accuracy is not None
        rows.append(
            (
                name,
                with_interval(suite.clean_accuracy),
                with_interval(suite.corrupted_accuracy),
                percent(suite.corrupted_accuracy.value / suite.clean_accuracy.value),
                *(_robust(model, threat) for threat in (WORST, *TEXTS)),
            )
        )
    header = ("Model", "Clean", SUITE, "of the clean", WORST, *TEXTS)
    return Grid("Accuracy", header, tuple(rows), names=1)


def decisive_grid(models: dict[str, Measured]) -> Grid:
    """The faults that broke answers first, where any may be chosen."""
    rows = []
    for name, model in models.items():
        broken = Counter(
            outcome.decisive.what
            for outcome in model.outcomes[WORST]
            if outcome.decisive is not None and not outcome.correct
        )
        first = ", ".join(f"{kind} {count}" for kind, count in broken.most_common(4))
        rows.append((name, str(broken.total()), first))
    return Grid("Decisive faults", ("Model", "Answers broken", "by"), tuple(rows), names=1)


def _robust(model: Measured, threat: str) -> str:
    result = model.results.get(threat)
    if result is None or result.metrics.robust_accuracy is None:
        return MISSING
    return with_interval(result.metrics.robust_accuracy)


def words_grid(models: dict[str, Measured]) -> Grid:
    """What words cost, against each control; p corrected by Holm over the table."""
    cells = [
        (name, threat, model.results[threat].metrics.robust_accuracy, control)
        for name, model in models.items()
        for threat in TEXTS
        if threat in model.results
        for control in sorted(model.results[threat].metrics.controls, key=lambda one: one.control)
    ]
    paired = [cell for cell in cells if cell[3].words_cost is not None]
    p_values = [control.p_value for *_, control in paired]
    corrected = multipletests(p_values, method="holm")[1] if paired else ()
    rows = []
    for (name, threat, words, control), p_value in zip(paired, corrected, strict=True):
        cost = control.words_cost
        assert words is not None
        assert cost is not None
        rows.append(
            (
                name,
                threat,
                control.control,
                percent(words.value),
                percent(control.value),
                f"{points(cost.value)} ({points(cost.low)} to {points(cost.high)})",
                f"{p_value:.2g}",
            )
        )
    header = ("Model", "Threat", "Control", "Wrong words", "Control text", "The words cost", "p (Holm)")
    return Grid("Words", header, tuple(rows), names=3)


def severity_grid(models: dict[str, Measured]) -> Grid:
    """Mean accuracy over the kinds of a severity, and over all: the full suite."""
    rows = []
    for name, model in models.items():
        metrics = model.results[FULL].metrics
        assert metrics.corrupted_accuracy is not None
        worst = min(metrics.by_corruption, key=lambda one: (one.value / max(one.clean, 1e-9), -one.n))
        by_severity = (percent(_mean_at(model.outcomes[FULL], severity)) for severity in (1, 3, 5))
        rows.append(
            (
                name,
                percent(metrics.clean_accuracy.value),
                with_interval(metrics.corrupted_accuracy),
                *by_severity,
                f"{worst.kind}, {worst.severity}: {percent(worst.value)}",
            )
        )
    header = ("Model", "Clean", FULL, *(f"severity {severity}" for severity in (1, 3, 5)), "Worst fault")
    return Grid("Every fault", header, tuple(rows), names=1)


def _mean_at(outcomes: Sequence[Outcome], severity: int) -> float:
    """Mean over the questions of the share of right answers at one severity."""
    met = [[one.choice == o.answer for one in o.alterations if one.severity == severity] for o in outcomes]
    return fmean(fmean(right) for right in met if right)


def difference_grid(models: dict[str, Measured]) -> Grid:
    """Every defence against the undefended model, question by question: on the whole, and by kind of common faults.

    A fault is common where at least half of the questions meet it; it counts with its three severities.
    """
    suite = next(iter(models.values())).outcomes[FULL]
    met_by = Counter(kind for outcome in suite for kind in {one.what for one in outcome.alterations})
    common = sorted(kind for kind, questions in met_by.items() if 2 * questions >= len(suite))
    measures = {
        "clean": ("clean", None),
        FULL: (FULL, None),
        SUITE: (SUITE, None),
        WORST: (WORST, None),
        WORDS: (WORDS, None),
        **{kind: (FULL, kind) for kind in common},
    }
    pairs = [pair for pair in PAIRS if models.keys() >= set(pair)]
    found = [
        paired(models[plain].outcomes[threat], models[defended].outcomes[threat], kind)
        for threat, kind in measures.values()
        for plain, defended in pairs
    ]
    corrected = iter(multipletests([p_value for _, p_value in found], method="holm")[1])
    cells = [f"{points(difference)} (p {next(corrected):.2g})" for difference, _ in found]
    rows = [
        (name, *cells[place * len(pairs) : (place + 1) * len(pairs)]) for place, name in enumerate(measures)
    ]
    header = ("Points", *(f"{defended} less {plain}" for plain, defended in pairs))
    return Grid("Differences", header, tuple(rows), names=1)


def paired(before: Sequence[Outcome], now: Sequence[Outcome], kind: str | None) -> tuple[float, float]:
    """Difference in accuracy, and the p-value of "equally good": whole images exchanged between the models.

    Args:
        before: outcomes of the undefended model.
        now: those of the defended one.
        kind: of fault, whose images alone count; None: all.
    """
    held = {outcome.question: outcome for outcome in before}
    met = [outcome for outcome in now if kind is None or any(one.what == kind for one in outcome.alterations)]
    differences = [_right(outcome, kind) - _right(held[outcome.question], kind) for outcome in met]
    p_value = exchange_p_value(differences, [outcome.cluster for outcome in met])
    return sum(differences) / len(differences), p_value


def _right(outcome: Outcome, kind: str | None) -> float:
    if kind is None:
        return outcome.share_right
    return fmean(one.choice == outcome.answer for one in outcome.alterations if one.what == kind)


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
    tables = {}
    for name, make, threats in (
        ("accuracy", accuracy_grid, (SUITE,)),
        ("words", words_grid, (WORDS,)),
        ("decisive", decisive_grid, (WORST,)),
        ("differences", difference_grid, (FULL, SUITE, WORST, WORDS)),
        ("kinds", kind_grid, (SUITE,)),
        ("severities", severity_grid, (FULL,)),
    ):
        met = with_threats(models, *threats)
        if met:
            tables[name] = make(met).markdown()
            print(tables[name], end="\n\n")
    write_tables(PAGE, tables)


if __name__ == "__main__":
    main()

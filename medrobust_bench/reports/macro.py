"""Results over several data sets: the macro average, in which every data set counts the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console

from medrobust_bench.records import Estimate, Record
from medrobust_bench.reports.grid import MISSING, Grid, percent, with_interval
from medrobust_bench.reports.tables import measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from medrobust_bench.records import Result

NOTE = (
    "Macro average: the mean of the data sets' accuracies, each counting the same however many questions it has. Its "
    "95 % interval combines theirs as those of independent samples (Zou, Huang and Zhang 2009)."
)


class MacroAverage(Record):
    """One accuracy of one model over several data sets."""

    model: str
    measure: str
    by_data: dict[str, Estimate]
    average: Estimate


def macro_average(estimates: Iterable[Estimate]) -> Estimate:
    """The mean of accuracies on independent data sets, each counting the same, with its 95 % interval.

    The ends lie √Σ(value − low)² and √Σ(high − value)² over the number of data sets away from the mean: the method of
    variance estimates recovery (Zou, Huang and Zhang 2009, Computational Statistics & Data Analysis 53, "A note on
    confidence interval estimation for a linear function of binomial proportions"). It takes from each data set the
    interval that stands in its own row, and with it the clusters of patients and images; unlike a normal interval it
    does not collapse where every answer is right.

    Args:
        estimates: at least one; questions of two data sets share no patient and no image.

    Returns:
        The average; `n` counts all questions.

    Raises:
        ValueError: there are none.
    """
    found = list(estimates)
    if not found:
        raise ValueError("the average over no data sets is undefined")
    value = math.fsum(one.value for one in found) / len(found)
    below = math.sqrt(math.fsum((one.value - one.low) ** 2 for one in found)) / len(found)
    above = math.sqrt(math.fsum((one.high - one.value) ** 2 for one in found)) / len(found)
    return Estimate(
        value=value, low=max(0.0, value - below), high=min(1.0, value + above), n=sum(one.n for one in found)
    )


def macro_averages(results: Mapping[str, Sequence[Result]]) -> list[MacroAverage]:
    """Every accuracy that was measured on every data set, by model in the order of the tables.

    Args:
        results: by data set, of the same models under the same threats.
    """
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for data, of_data in results.items():
        for model, measures in measured(of_data).items():
            for measure in measures:
                found.setdefault((model, measure.label), {})[data] = measure.whole
    return [
        MacroAverage(model=model, measure=measure, by_data=by_data, average=macro_average(by_data.values()))
        for (model, measure), by_data in found.items()
        if len(by_data) == len(results)
    ]


def overview_grid(averages: Sequence[MacroAverage]) -> Grid:
    """Per model one row for each data set and one for their average, one column for each accuracy."""
    measures = list(dict.fromkeys(one.measure for one in averages))
    by_key = {(one.model, one.measure): one for one in averages}
    rows = []
    for model in dict.fromkeys(one.model for one in averages):
        of_model = [by_key.get((model, measure)) for measure in measures]
        for data in averages[0].by_data:
            cells = [MISSING if one is None else with_interval(one.by_data[data]) for one in of_model]
            rows.append((model, data, *cells))
        means = [MISSING if one is None else with_interval(one.average) for one in of_model]
        rows.append((model, "macro average", *means))
    return Grid("All data sets", ("Model", "Data set", *measures), tuple(rows), names=2)


def print_averages(averages: Sequence[MacroAverage], *, console: Console | None = None) -> None:
    """Print accuracies by data set and their averages (default: to standard output), narrow: one table per model."""
    console = console or Console(highlight=False)
    for model in dict.fromkeys(one.model for one in averages):
        of_model = [one for one in averages if one.model == model]
        rows = tuple(
            (
                one.measure,
                *(percent(estimate.value) for estimate in one.by_data.values()),
                percent(one.average.value),
                f"{percent(one.average.low)}–{percent(one.average.high)}",
            )
            for one in of_model
        )
        counts = [str(estimate.n) for estimate in of_model[0].by_data.values()]
        questions = ("questions", *counts, str(of_model[0].average.n), "")
        header = ("Threat", *of_model[0].by_data, "Average", "95 % interval")
        console.print(Grid(f"{model}, all data sets", header, (*rows, questions), names=1).rich())
    console.print(NOTE, markup=False, style="dim")

"""One evaluation on several data sets: a run for each, side by side in one folder, and their macro average.

Each run is whole in itself: it resumes, replays, reports, compares and is submitted as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.suite import is_suite, read_suite
from medrobust_bench.reports.macro import NOTE, macro_averages, overview_grid
from medrobust_bench.reports.tables import run_table
from medrobust_bench.runs.inputs import Reading
from medrobust_bench.runs.run import Run, load_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Result
    from medrobust_bench.reports.comparison import Comparison
    from medrobust_bench.reports.macro import MacroAverage


@dataclass(frozen=True)
class Suite:
    """Finished runs of the same models under the same threats, one for each data set.

    Attributes:
        folder: holds a folder for each run, `suite.json`, `leaderboard.md` and `macro_average.json`.
        runs: by the name of their folder, in the order in which the data sets were named.
    """

    folder: Path
    runs: Mapping[str, Run]

    def __getitem__(self, data: str) -> Run:
        """The run on a data set.

        Raises:
            KeyError: there is none; says which there are.
        """
        if data not in self.runs:
            raise KeyError(f"no run on {data!r}; this suite holds {', '.join(map(repr, self.runs))}")
        return self.runs[data]

    @property
    def results(self) -> tuple[Result, ...]:
        """The results of all runs."""
        return tuple(result for run in self.runs.values() for result in run.results)

    def macro_averages(self) -> list[MacroAverage]:
        """Every accuracy averaged over the data sets, each counting the same; see `reports.macro.macro_average`."""
        return macro_averages({run.record.plan.data.name: run.results for run in self.runs.values()})

    def table(self) -> str:
        """The results as Markdown: the data sets side by side with their average, then each by itself."""
        overview = overview_grid(self.macro_averages())
        return f"## {overview.title}\n\n{overview.markdown()}\n\n{NOTE}\n\n{run_table(self.results)}"


def load_suite(folder: str | Path) -> Suite:
    """Read finished runs on several data sets.

    Raises:
        InvalidInputError: the folder holds none, or one is not finished.
    """
    folder = Path(folder)
    found = Reading([])
    runs = {name: found.attempt(partial(load_run, folder / name)) for name in read_suite(folder).runs}
    if found.problems:
        raise InvalidInputError(found.problems)
    return Suite(folder, {name: run for name, run in runs.items() if run is not None})


def load_runs(folder: Path, *, moved: bool = False) -> tuple[Run, ...]:
    """The run of a folder, or all of those on several data sets.

    Args:
        folder: of the run or suite.
        moved: whether somebody says where the data set is now, which can be said of one run only.

    Raises:
        InvalidInputError: the folder holds neither, or several that have `moved`.
    """
    if not is_suite(folder):
        return (load_run(folder),)
    suite = load_suite(folder)
    if moved:
        what = f"name one place, and {folder} holds runs on {len(suite.runs)} data sets"
        remedy = f"give the folder of one of them, such as {folder / next(iter(suite.runs))}"
        raise InvalidInputError([Problem("--data, --images", what, remedy)])
    return tuple(suite.runs.values())


def compare_runs(
    baseline: Sequence[Run],
    current: Sequence[Run],
    *,
    pairs: Sequence[tuple[str, str]] = (),
    threats: Sequence[str] = (),
) -> list[Comparison]:
    """Hold runs against their baselines, each on its own data set.

    Args:
        baseline: of one run, or of a suite.
        current: as many, on the same data sets.
        pairs: see `Run.compare`.
        threats: see `Run.compare`.

    Raises:
        InvalidInputError: a data set has no counterpart, or two runs cannot be compared.
    """
    if len(baseline) == len(current) == 1:
        return baseline[0].compare(current[0], pairs=pairs, threats=threats)
    names = [[run.record.plan.data.name for run in runs] for runs in (baseline, current)]
    problems = [
        Problem(str(run.folder), f"has no counterpart on {run.record.plan.data.name}", _ALIKE)
        for runs, others in ((baseline, names[1]), (current, names[0]))
        for run in runs
        if run.record.plan.data.name not in others
    ]
    if problems:
        raise InvalidInputError(problems)
    later = dict(zip(names[1], current, strict=True))
    found = Reading([])
    comparisons: list[Comparison] = []
    for name, before in zip(names[0], baseline, strict=True):
        comparisons += found.attempt(partial(before.compare, later[name], pairs=pairs, threats=threats)) or []
    if found.problems:
        raise InvalidInputError(found.problems)
    return comparisons


_ALIKE = "compare runs on the same data sets"

"""What a run shows while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from medrobust_bench.problems import printable
from medrobust_bench.runs.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from medrobust_bench.problems import Problem
    from medrobust_bench.records import Failure, Outcome
    from medrobust_bench.records.run import Plan

SECONDS_BETWEEN_LINES = 10.0


class Tally:
    """Running counts per model and threat.

    Args:
        corruptions: names of the threats under which the share of a question's images counts.
    """

    def __init__(self, corruptions: Collection[str] = ()) -> None:
        self.asked: dict[tuple[str, str], int] = {}
        self.failed: dict[tuple[str, str], int] = {}
        self._corruptions = corruptions
        self._begun: dict[str, tuple[float, dict[tuple[str, str], int]]] = {}
        self._shares: dict[tuple[str, str], list[float]] = {}

    def add(self, outcome: Outcome) -> tuple[str, str]:
        """Count an outcome; returns its key."""
        key = (outcome.model, outcome.threat)
        self.asked[key] = self.asked.get(key, 0) + 1
        shares = self._shares.setdefault(key, [])
        if outcome.alterations or outcome.threat not in self._corruptions:
            shares.append(outcome.share_right)
        return key

    def lose(self, failure: Failure) -> tuple[str, str]:
        """Count a question that came to no outcome; returns its key."""
        key = (failure.model, failure.threat)
        self.failed[key] = self.failed.get(key, 0) + 1
        return key

    def begin(self, model: str) -> None:
        """Whoever works on a model has loaded it: from here on its time counts."""
        before = {key: self.done(key) for key in {*self.asked, *self.failed} if key[0] == model}
        self._begun[model] = time.monotonic(), before

    def pace(self, key: tuple[str, str], total: int) -> str:
        """ "2.4/s, 0:03:10 left", over all workers and by the clock; nothing where nothing has come yet."""
        since, before = self._begun.get(key[0], (0.0, {}))
        new, spent = self.done(key) - before.get(key, 0), time.monotonic() - since
        if key[0] not in self._begun or not new or spent <= 0:
            return ""
        left = timedelta(seconds=round((total - self.done(key)) * spent / new))
        return rate_text(new / spent) + (f", {left} left" if left else "")

    def done(self, key: tuple[str, str]) -> int:
        """How many questions are over and done with."""
        return self.asked.get(key, 0) + self.failed.get(key, 0)

    def text(self, key: tuple[str, str]) -> str:
        """ "83.3 % right", over what is finished (nothing where no image was altered yet), and how many failed."""
        shares = self._shares.get(key, [])
        right = [f"{100 * sum(shares) / len(shares):5.1f} % right"] if shares else []
        return ", ".join([*right, *([f"{self.failed[key]} failed"] if key in self.failed else [])])


def rate_text(per_second: float) -> str:
    """A rate in the unit in which it is at least one, if there is one: "2.4/s", "5.0/min", "0.8/h"."""
    units = (("s", 1.0), ("min", 60.0), ("h", 3600.0))
    unit, seconds = next((one for one in units if per_second * one[1] >= 1), units[-1])
    return f"{per_second * seconds:.1f}/{unit}"


class Bars(Observer):
    """A bar per model and threat, with the accuracy so far, rate and time left, over all workers."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._total = 0
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._tally = Tally()

    def opened(self, notes: Sequence[str]) -> None:
        """Say how the data set was understood."""
        for note in notes:
            self._bars.console.print(printable(note), markup=False, highlight=False)

    def started(self, plan: Plan, finished: Sequence[Outcome]) -> None:
        """Draw the bars of every model and threat, the finished part filled."""
        self._tally = Tally(_corruptions(plan))
        for model in plan.models:
            for threat in plan.threats:
                self._tasks[model, threat.name] = self._bars.add_task(
                    f"{model}  {threat.name}", total=plan.data.n, start=False, right="", pace=""
                )
        self._total = plan.data.n
        self.advanced(finished)

    def loading(self, model: str) -> None:
        """Say which model is read from disk; large ones take minutes."""
        self._bars.console.print(f"[dim]loading {model}[/dim]", highlight=False)

    def asked(self, model: str, notes: Sequence[str]) -> None:
        """Say what is unusual in how questions are put to a model, whose time counts from here on."""
        self._tally.begin(model)
        for note in notes:
            self._bars.console.print(printable(f"{model} {note}"), markup=False, highlight=False)

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """Fill the bars."""
        for key in dict.fromkeys(self._tally.add(outcome) for outcome in outcomes):
            if not self._bars.tasks[self._tasks[key]].started:
                self._bars.start_task(self._tasks[key])
            self._show(key)

    def failed(self, failures: Sequence[Failure]) -> None:
        """Name the questions above the bars."""
        for failure in failures:
            key = self._tally.lose(failure)
            self._bars.console.print(f"failed: {failure}", markup=False, highlight=False, style="red")
            self._show(key)

    def _show(self, key: tuple[str, str]) -> None:
        self._bars.update(
            self._tasks[key],
            completed=self._tally.done(key),
            right=self._tally.text(key),
            pace=self._tally.pace(key, self._total),
        )

    def stopped(self, model: str, problems: Sequence[Problem]) -> None:
        """Say it above the bars; the problems themselves are told at the end."""
        self._bars.console.print(
            printable(_stopped(model, problems)), markup=False, highlight=False, style="red"
        )


class Lines(Observer):
    """A line per model and threat when it is finished, and one every ten seconds in between."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._total = 0
        self._all = 0
        self._done = 0
        self._start = self._last = time.monotonic()

    def opened(self, notes: Sequence[str]) -> None:
        """Say how the data set was understood."""
        for note in notes:
            click.echo(printable(note), err=True)

    def started(self, plan: Plan, finished: Sequence[Outcome]) -> None:
        """Say what is going to be done."""
        self._tally = Tally(_corruptions(plan))
        self._total = plan.data.n
        self._all = plan.data.n * len(plan.models) * len(plan.threats)
        kind = "synthetic questions" if plan.data.synthetic else "questions"
        models, threats = ", ".join(plan.models), ", ".join(threat.name for threat in plan.threats)
        click.echo(f"{plan.data.name}: {self._total} {kind}; models: {models}; threats: {threats}", err=True)
        if finished:
            click.echo(f"resuming: {len(finished)} of {self._all} outcomes are in the journal", err=True)
        for outcome in finished:
            self._tally.add(outcome)
        self._resumed = len(finished)

    def loading(self, model: str) -> None:
        """Say which model is read from disk; large ones take minutes."""
        click.echo(f"loading {model}", err=True)

    def asked(self, model: str, notes: Sequence[str]) -> None:
        """Say what is unusual in how questions are put to a model, whose time counts from here on."""
        self._tally.begin(model)
        if not self._done:  # what it took to load the first model says nothing about what is left
            self._start = time.monotonic()
        for note in notes:
            click.echo(printable(f"{model} {note}"), err=True)

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """Print what is finished, and now and then how far the run is."""
        now = time.monotonic()
        self._done += len(outcomes)
        for key in dict.fromkeys(self._tally.add(outcome) for outcome in outcomes):
            if self._tally.done(key) == self._total:
                click.echo(f"{key[0]}  {key[1]}  {self._tally.text(key)}  done", err=True)
                self._last = now
            elif now - self._last >= SECONDS_BETWEEN_LINES:
                left = (self._all - self._resumed - self._done) * (now - self._start) / self._done
                click.echo(
                    f"{key[0]}  {key[1]}  {self._tally.done(key)}/{self._total}  {self._tally.text(key)}  "
                    f"{self._tally.pace(key, self._total)}; about {timedelta(seconds=round(left))} for all",
                    err=True,
                )
                self._last = now

    def failed(self, failures: Sequence[Failure]) -> None:
        """Name the questions, one a line."""
        self._done += len(failures)
        for failure in failures:
            key = self._tally.lose(failure)
            click.echo(f"failed: {failure}", err=True)
            if self._tally.done(key) == self._total:
                click.echo(f"{key[0]}  {key[1]}  {self._tally.text(key)}  done", err=True)

    def stopped(self, model: str, problems: Sequence[Problem]) -> None:
        """Say it in a line; the problems themselves are told at the end."""
        click.echo(printable(_stopped(model, problems)), err=True)


def _stopped(model: str, problems: Sequence[Problem]) -> str:
    return f"stopped: {model}: {problems[0].what}"


def _corruptions(plan: Plan) -> frozenset[str]:
    return frozenset(threat.name for threat in plan.threats if threat.yields == "corrupted")


@contextmanager
def progress() -> Iterator[Observer]:
    """An observer that suits the terminal, or its absence; everything goes to standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[right]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield Bars(bars)

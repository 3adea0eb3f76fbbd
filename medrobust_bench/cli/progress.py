"""What a run shows while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
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
    TimeRemainingColumn,
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

    def done(self, key: tuple[str, str]) -> int:
        """How many questions are over and done with."""
        return self.asked.get(key, 0) + self.failed.get(key, 0)

    def text(self, key: tuple[str, str]) -> str:
        """ "83.3 % right", over what is finished (nothing where no image was altered yet), and how many failed."""
        shares = self._shares.get(key, [])
        right = [f"{100 * sum(shares) / len(shares):5.1f} % right"] if shares else []
        return ", ".join([*right, *([f"{self.failed[key]} failed"] if key in self.failed else [])])


class Bars(Observer):
    """A bar per model and threat, with rate, time left and the accuracy so far."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
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
                    f"{model}  {threat.name}", total=plan.data.n, start=False, right="", rate=""
                )
        self.advanced(finished)

    def loading(self, model: str) -> None:
        """Say which model is read from disk; large ones take minutes."""
        self._bars.console.print(f"[dim]loading {model}[/dim]", highlight=False)

    def asked(self, model: str, notes: Sequence[str]) -> None:
        """Say what is unusual in how questions are put to a model."""
        for note in notes:
            self._bars.console.print(printable(f"{model} {note}"), markup=False, highlight=False)

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """Fill the bars."""
        for key in dict.fromkeys(self._tally.add(outcome) for outcome in outcomes):
            task = self._bars.tasks[self._tasks[key]]
            if not task.started:
                self._bars.start_task(task.id)
            spent = sum(outcome.seconds for outcome in outcomes if (outcome.model, outcome.threat) == key)
            count = sum((outcome.model, outcome.threat) == key for outcome in outcomes)
            rate = f"{count / spent:.1f}/s" if spent else ""
            self._bars.update(
                task.id, completed=self._tally.done(key), right=self._tally.text(key), rate=rate
            )

    def failed(self, failures: Sequence[Failure]) -> None:
        """Name the questions above the bars."""
        for failure in failures:
            key = self._tally.lose(failure)
            self._bars.console.print(f"failed: {failure}", markup=False, highlight=False, style="red")
            self._bars.update(self._tasks[key], completed=self._tally.done(key), right=self._tally.text(key))

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
        """Say what is unusual in how questions are put to a model."""
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
                    f"{key[0]}  {key[1]}  {self._tally.asked[key]}/{self._total}  {self._tally.text(key)}  "
                    f"about {left:.0f} s left",
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
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield Bars(bars)

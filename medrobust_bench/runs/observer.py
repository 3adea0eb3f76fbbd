"""Somebody who watches a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.problems import Problem
    from medrobust_bench.records import Failure, Outcome
    from medrobust_bench.records.run import Plan


class Observer:
    """Somebody who watches a run: each method is told of one thing, and does nothing unless overridden."""

    def opened(self, notes: Sequence[str]) -> None:
        """The data set is open; `notes` say how it was understood, one sentence each."""

    def started(self, plan: Plan, finished: Sequence[Outcome]) -> None:
        """The plan is made; `finished` is what an earlier, interrupted run had done of it."""

    def loading(self, model: str) -> None:
        """A model is about to be loaded."""

    def asked(self, model: str, notes: Sequence[str]) -> None:
        """A model is loaded; `notes` say what is unusual in how questions are put to it, one sentence each."""

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """A chunk under one threat is in the journal, or one of its certificates."""

    def failed(self, failures: Sequence[Failure]) -> None:
        """Questions came to no outcome under a threat; the run goes on."""

    def stopped(self, model: str, problems: Sequence[Problem]) -> None:
        """A model cannot be measured to its end; the run goes on with the next one."""

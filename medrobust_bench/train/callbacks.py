"""What happens beside the steps of a training: validation, its curve, a word on how far it is, warnings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from transformers import TrainerCallback

from medrobust_bench.train.tasks import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import TrainerControl, TrainerState

    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.train.curve import StepLog
    from medrobust_bench.train.passes import PassCounter

SECONDS_BETWEEN_LINES = 10.0
PATIENCE = 10
"""Logged steps without two rollouts of a group that earn differently, after which the user is told."""


class Validated(Protocol):
    """A trainer that can measure itself."""

    def measure_validation(self) -> None:
        """Measure validation accuracy and have it logged with the step's other metrics."""


class Validation(TrainerCallback):  # type: ignore[misc]
    """Measures validation accuracy every few steps and at the end.

    Args:
        trainer: what is measured.
        every: optimiser steps between two measurements.
    """

    def __init__(self, trainer: Validated, every: int) -> None:
        self._trainer = trainer
        self._every = every

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Measure, where it is time to."""
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._trainer.measure_validation()
            control.should_log = True
        # A checkpoint does not hold the losses since the last line of the log: it comes right after one.
        control.should_log = control.should_log or control.should_save


class EarlierPasses(TrainerCallback):  # type: ignore[misc]
    """Lets the count of a resumed training go on from what it had last logged.

    Args:
        passes: the count.
    """

    def __init__(self, passes: PassCounter) -> None:
        self._passes = passes

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Add what was spent before the interruption."""
        logged = [entry for entry in state.log_history if "passes/forward" in entry]
        if logged:
            self._passes.go_on_from(logged[-1])


class KeptCurve(TrainerCallback):  # type: ignore[misc]
    """Keeps what is logged, without the steps that a resumed training repeats.

    Args:
        curve: where.
        report: takes what matters of each logged step as one line.
        shown: the names of what matters; the curve holds everything.
    """

    def __init__(self, curve: StepLog, report: Callable[[str], None], shown: tuple[str, ...]) -> None:
        self._curve = curve
        self._report = report
        self._shown = shown
        self._begun = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Drop what lies behind the step that training begins at."""
        self._curve.begin(state.global_step)
        earlier = [entry.get("seconds", 0.0) for entry in self._curve.entries()]
        self._begun = time.monotonic() - max(earlier, default=0.0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **more: Any) -> None:
        """Append what was logged at a step; the summary at the end of a training is no step."""
        if "loss" not in logs:
            return
        numbers = {
            name: float(f"{value:.7g}") for name, value in logs.items() if isinstance(value, int | float)
        }
        seconds = round(time.monotonic() - self._begun, 1)
        self._curve.add({"step": state.global_step, **numbers, "seconds": seconds})
        shown = " ".join(f"{name}={numbers[name]:.3g}" for name in self._shown if name in numbers)
        self._report(f"step {state.global_step}/{state.max_steps}: {shown}, {seconds:.0f} s")


class Progress(TrainerCallback):  # type: ignore[misc]
    """Says how far a training is where its log has been silent for some seconds.

    Args:
        report: takes a line at a time.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._begun = self._last = time.monotonic()
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Start the clock."""
        self._begun = self._last = time.monotonic()
        self._first = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Be silent for a while: something has been said."""
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Say how much is left, where nothing has been said for a while."""
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES or control.should_log:
            return
        self._last = now
        each = (now - self._begun) / (state.global_step - self._first)
        left = (state.max_steps - state.global_step) * each
        self._report(
            f"step {state.global_step}/{state.max_steps}: {each:.1f} s a step, about {left:.0f} s left"
        )


class UnvaryingRewards(TrainerCallback):  # type: ignore[misc]
    """Warns where the rollouts of every group earn the same: such groups have no gradient, and nothing is learnt.

    Args:
        mode: how the model answers.
        report: takes the warning.
    """

    def __init__(self, mode: AnswerMode, report: Callable[[str], None]) -> None:
        self._mode = mode
        self._report = report
        self._streak = 0
        self._formatted = 0.0
        self._varied = False

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **more: Any) -> None:
        """Count logged steps without a group that differs; speak at the `PATIENCE`-th in a row."""
        if "group_variance" not in logs:
            return
        if logs["group_variance"] > 1e-9:  # of equal rewards it is rounding
            self._streak, self._formatted, self._varied = 0, 0.0, True
            return
        self._streak += 1
        self._formatted += logs["format_rate"]
        if self._streak == PATIENCE:
            self._warn(f"in {PATIENCE} logged steps")

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Say it again of a training that has learnt nothing from beginning to end."""
        if self._streak and not self._varied:
            self._warn("in the whole training")

    def _warn(self, when: str) -> None:
        if self._formatted:
            remedy = (
                "raise temperature or group, or take questions that the model gets right only now and then"
            )
            rate = self._formatted / self._streak
            what = f"no two rollouts of a group earned differently {when} (format_rate {rate:.2f}): nothing was learnt"
        else:
            wanted = FORMATS[self._mode]
            remedy = (
                f"teach the format first (`medrobust train sft`, task `{wanted.tasks[0].value}`), "
                "then start from that checkpoint"
            )
            what = f"no completion was {wanted.shape} {when}: none was rewarded, and nothing was learnt"
        self._report(f"warning: {what} → {remedy}")

"""What a run shows while it works: rate and time left by the clock, whoever did the work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from medrobust_bench.cli import progress
from medrobust_bench.cli.progress import Lines, Tally, rate_text
from medrobust_bench.records import Failure, Outcome

KEY = ("m", "pgd-linf")


def outcome(number: int, *, seconds: float = 60.0) -> Outcome:
    return Outcome(
        model="m",
        threat="pgd-linf",
        question=f"q{number}",
        image_sha256="0" * 64,
        modality="CT",
        question_type="Other",
        answer=0,
        clean_choice=0,
        choice=0,
        correct=True,
        forward_passes=1,
        seconds=seconds,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_are_those_of_all_workers_by_the_clock(clock: list[float]) -> None:
    tally = Tally()
    tally.begin("m")
    for number in range(8):  # which took four workers a minute each
        tally.add(outcome(number))
    clock[0] += 120
    assert tally.pace(KEY, 20) == "4.0/min, 0:03:00 left"


def test_what_an_earlier_run_had_done_counts_for_no_rate(clock: list[float]) -> None:
    tally = Tally()
    for number in range(10):
        tally.add(outcome(number))
    assert tally.pace(KEY, 20) == "", "nobody works on the model yet"
    tally.begin("m")
    assert tally.pace(KEY, 20) == ""
    clock[0] += 2
    tally.add(outcome(10))
    tally.lose(Failure(model="m", threat="pgd-linf", question="q11", error="ValueError", reason="no"))
    assert tally.pace(KEY, 20) == "1.0/s, 0:00:08 left"
    for number in range(12, 20):
        tally.add(outcome(number))
    assert tally.pace(KEY, 20) == "5.0/s", "nothing is left"


@pytest.mark.parametrize(("rate", "text"), [(2.44, "2.4/s"), (1 / 12, "5.0/min"), (1 / 4500, "0.8/h")])
def test_slow_rates_are_told_in_a_longer_unit(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_what_loading_took_says_nothing_about_what_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    data = SimpleNamespace(n=20, name="toy", synthetic=False)
    plan: Any = SimpleNamespace(
        data=data, models=["m"], threats=[SimpleNamespace(name="pgd-linf", yields="robust")]
    )
    lines = Lines()
    lines.started(plan, [])
    clock[0] += 600
    lines.asked("m", [])
    clock[0] += 15
    lines.advanced([outcome(number) for number in range(5)])
    assert "about 0:00:45 for all" in capsys.readouterr().err

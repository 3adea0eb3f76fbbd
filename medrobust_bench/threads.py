"""How many threads a command computes with, chosen before torch is loaded: OpenMP reads its variables only then.

Torch takes every core of the machine. Its threads wait for one another after each small piece of work, so that as soon
as anything else uses one of the cores all of them go at the pace of that one, and the spinning of those that wait makes
it worse: three times slower than a single thread (`benchmarks/threads.py`). So only the cores that are idle when the
command starts are used, and no more than its container may use. What the user set stays.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

COMPUTING = frozenset({"run", "train", "audit", "replay", "verify"})
"""The commands that compute."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_TIMES = Path("/proc/stat")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_LOOK = 0.1
"""Seconds for which the other processes are watched."""


def settle_threads() -> None:
    """Choose the number of threads of this process and of those that it starts, where the user chose none."""
    if not hasattr(os, "sched_getaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    physical = _physical(allowed)
    chosen = thread_count(os.environ, physical=physical, busy=_busy(allowed), quota=_cpu_quota())
    if chosen is not None:
        os.environ["OMP_NUM_THREADS"] = str(chosen)


def thread_count(given: Mapping[str, str], *, physical: int, busy: float, quota: float | None) -> int | None:
    """How many threads to use; None where torch's own choice, all physical cores, is right or the user has chosen.

    Args:
        given: the environment.
        physical: cores that this process may run on.
        busy: how many of them others keep busy.
        quota: cores' worth of time that its control group may use; None for no limit.
    """
    if "OMP_NUM_THREADS" in given or "MKL_NUM_THREADS" in given:
        return None
    free = physical - round(busy)
    if quota is not None:
        free = min(free, int(quota))
    return None if free >= physical else max(1, free)


def _busy(allowed: Collection[int]) -> float:
    """How many of these logical cores others used during a moment; 0 where that cannot be seen."""
    before = _idle_and_total(allowed)
    time.sleep(_LOOK)
    after = _idle_and_total(allowed)
    return sum(
        1 - (idle - before[core][0]) / (total - before[core][1])
        for core, (idle, total) in after.items()
        if core in before and total > before[core][1]
    )


def _idle_and_total(allowed: Collection[int]) -> dict[int, tuple[int, int]]:
    """Per core the time that it was idle or waited for a disk, and all of its time, in ticks."""
    times = {}
    try:
        lines = _TIMES.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    for line in lines:
        name, *ticks = line.split()
        if name.removeprefix("cpu").isdigit() and int(name.removeprefix("cpu")) in allowed:
            counted = [int(tick) for tick in ticks[:8]]  # guests are in the user time already
            times[int(name.removeprefix("cpu"))] = (counted[3] + counted[4], sum(counted))
    return times


def _physical(allowed: Collection[int]) -> int:
    """How many physical cores these logical ones are."""
    siblings = set()
    for core in allowed:
        try:
            siblings.add(Path(_TOPOLOGY.format(core)).read_text(encoding="ascii"))
        except OSError:
            siblings.add(str(core))
    return len(siblings)


def _cpu_quota() -> float | None:
    """Cores' worth of time that Linux's control group allows this process, None where nothing limits it."""
    try:
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        return None

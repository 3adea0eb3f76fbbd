"""How the threads of a command behave, set before torch is loaded: OpenMP reads these variables only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_COUNTING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def thread_settings(given: Mapping[str, str], *, cores: int, quota: float | None) -> dict[str, str]:
    """The environment variables that a process which computes should have besides those that it has.

    Threads that wait for one another sleep instead of spinning: a spinning thread takes the core from the very thread
    that it waits for as soon as anything else uses one of them (`benchmarks/threads.py` measures it). And there are
    no more threads than the container may use cores; torch counts those of the machine.

    Args:
        given: the environment; what the user set in it stays.
        cores: logical cores that this process may run on.
        quota: cores' worth of time that its control group may use; None for no limit.
    """
    settings = {}
    if not any(name in given for name in _WAITING):
        settings["OMP_WAIT_POLICY"] = "PASSIVE"
    if quota is not None and quota < cores and not any(name in given for name in _COUNTING):
        settings["OMP_NUM_THREADS"] = str(max(1, int(quota)))
    return settings


def settle_threads() -> None:
    """Give this process and those that it starts the variables of `thread_settings`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.update(thread_settings(os.environ, cores=cores, quota=_cpu_quota()))


def _cpu_quota() -> float | None:
    """Cores' worth of time that Linux's control group allows this process, None where nothing limits it."""
    try:
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        return None

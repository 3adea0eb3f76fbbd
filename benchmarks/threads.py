"""What the number of threads and their wait policy cost, on a quiet machine and beside a busy core.

    python -m benchmarks.threads --rounds 3

Each round runs every variant in turn, quiet and beside the competitor, on the first two cores that this process may
use. A figure is the wall time that the run's own journal gives for its questions (start and imports are not in it):
the median over rounds, and the smallest. Whatever else the machine does is in the figures too: the load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALL_CORES = "2"
VARIANTS = {
    "all": ("all cores, torch's default", {"OMP_NUM_THREADS": ALL_CORES}),
    "sleep": (
        "all cores, threads that wait sleep (OMP_WAIT_POLICY=PASSIVE)",
        {"OMP_NUM_THREADS": ALL_CORES, "OMP_WAIT_POLICY": "PASSIVE"},
    ),
    "spin": (
        "all cores, they spin a little (GOMP_SPINCOUNT=1000)",
        {"OMP_NUM_THREADS": ALL_CORES, "GOMP_SPINCOUNT": "1000"},
    ),
    "one": ("one", {"OMP_NUM_THREADS": "1"}),
    "idle": ("as many as there are idle cores, as `medrobust` chooses", {}),
}
_OURS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="tiny-sft-reasoning")
    parser.add_argument("--threat", default="pgd-linf")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=[*VARIANTS], help="which of them")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    arguments = ["--model", given.model, "--threat", given.threat, "--limit", str(given.limit)]
    print(measure(arguments, cores, variants=given.variants, rounds=given.rounds))


def measure(arguments: Sequence[str], cores: Sequence[int], *, variants: Sequence[str], rounds: int) -> str:
    """The table.

    Args:
        arguments: of `medrobust run`.
        cores: that the run may use; the competitor sits on the first.
        variants: which of `VARIANTS`.
        rounds: how often everything is measured, in turn.
    """
    seconds: dict[tuple[str, bool], list[float]] = {}
    for _ in range(rounds):
        for name in variants:
            for busy in (False, True):
                with competitor(cores[0] if busy else None):
                    taken = seconds_of_run(arguments, cores, VARIANTS[name][1])
                seconds.setdefault((name, busy), []).append(taken)
    lines = [
        f"medrobust run {' '.join(arguments)}, on {len(cores)} cores; load of the machine {os.getloadavg()[0]:.1f}",
        "",
        "| threads | otherwise quiet, s | one core busy, s |",
        "|---|---|---|",
    ]
    for name in variants:
        cells = [
            f"{statistics.median(seconds[name, busy]):.1f} ({min(seconds[name, busy]):.1f})"
            for busy in (False, True)
        ]
        lines.append(f"| {VARIANTS[name][0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def seconds_of_run(arguments: Sequence[str], cores: Sequence[int], environment: dict[str, str]) -> float:
    """Wall seconds that one run took for its questions."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "medrobust_bench", "run", *arguments, "--out", str(out)]
        subprocess.run(
            command,
            env={**inherited, **environment},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        lines = (out / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["seconds"] for line in lines)


@contextmanager
def competitor(core: int | None) -> Iterator[None]:
    """Inside it, a process keeps a core busy; none where no core is named."""
    if core is None:
        yield
        return
    spinning = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, [core])
    )
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


if __name__ == "__main__":
    main()

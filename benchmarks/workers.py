"""One process against Ray workers on this machine: the same bytes, with workers killed at random, and what it takes.

    python benchmarks/workers.py identical --out DIR     # local, 1, 2 and 4 workers, quiet and with kills
    python benchmarks/workers.py speed --out DIR         # questions per second, local, 1 and 2 workers

Needs the extra [ray]. What is compared: every result file but for `cost.seconds`, every witness file byte for byte, and
the lines of the journal but for their order and their seconds.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import medrobust_bench
from medrobust_bench.runs.observer import Silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Outcome

MODEL, THREATS = "tiny-sft-letter", ("pgd-linf:steps=5", "noise:draws=2", "certified-l2-quick:n=64,n0=16")
_PROCESS = re.compile(r"opened .* process (\d+)$", re.MULTILINE)


class Clock(Silent):
    """Times a run, and kills a worker now and then.

    Args:
        logs: of the workers, where their process ids stand.
        kills: how many workers to kill.
        seed: of the moments.
    """

    def __init__(self, logs: Path, kills: int = 0, seed: int = 0) -> None:
        self.logs, self.kills, self._draw = logs, kills, random.Random(seed)
        self.killed: list[tuple[int, int]] = []
        self.done = 0
        self.since = self.last = time.perf_counter()

    def asked(self, model: str, notes: Sequence[str]) -> None:
        """The first worker has opened the model."""
        self.since = time.perf_counter()

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """Kill one of the workers, by lot."""
        self.done += len(outcomes)
        self.last = time.perf_counter()
        if len(self.killed) < self.kills and self._draw.random() < 0.3:
            alive = [_PROCESS.findall(path.read_text())[-1:] for path in self.logs.glob("*.log")]
            victims = [int(pid) for found in alive for pid in found if Path(f"/proc/{pid}").exists()]
            if victims:
                victim = self._draw.choice(victims)
                os.kill(victim, signal.SIGKILL)
                self.killed.append((self.done, victim))


def content(run: Path) -> dict[str, Any]:
    """What a run wrote, but for its seconds."""
    results = {path.name: json.loads(path.read_text()) for path in (run / "results").iterdir()}
    for result in results.values():
        del result["cost"]["seconds"]
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    images = {path.name: path.read_bytes() for path in (run / "witnesses").iterdir()}
    table = (run / "leaderboard.md").read_bytes()
    return {
        "results": results,
        "journal": sorted(json.dumps(line, sort_keys=True) for line in lines),
        "witnesses": images,
        "table": table,
    }


def measure(out: Path, workers: int, limit: int, *, kills: int = 0, seed: int = 0) -> Clock:
    """One run; `workers` 0 is this process."""
    clock = Clock(out / "logs", kills, seed)
    engine = medrobust_bench.RayEngine(workers=workers, logs=out / "logs") if workers else nullcontext()
    with engine as crew:
        medrobust_bench.evaluate(
            model=MODEL, threats=THREATS, limit=limit, batch_size=4, out=out, engine=crew, observer=clock
        )
    return clock


@click.group()
def main() -> None:
    """Ray workers against one process."""


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--limit", default=24, show_default=True)
@click.option("--kills", default=5, show_default=True, help="Workers killed in each run with kills.")
def identical(out: Path, limit: int, kills: int) -> None:
    """Compare what one process and several workers write."""
    measure(out / "local", 0, limit)
    expected = content(out / "local")
    click.echo("| workers | killed after so many outcomes | results | witnesses | journal lines | table |")
    click.echo("|--|--|--|--|--|--|")
    for workers, killing in ((1, 0), (2, 0), (4, 0), (2, kills), (4, kills)):
        name = f"{workers}-{killing}"
        clock = measure(out / name, workers, limit, kills=killing, seed=workers)
        found = content(out / name)
        same = ["same" if found[part] == expected[part] else "DIFFERENT" for part in expected]
        same = [same[0], same[2], f"{same[1]}, {len(found['journal'])}", same[3]]
        when = ", ".join(str(done) for done, _pid in clock.killed) or "–"
        click.echo(f"| {workers} | {when} | {' | '.join(same)} |")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--limit", default=48, show_default=True)
def speed(out: Path, limit: int) -> None:
    """Outcomes per second from the first opened model to the last outcome."""
    click.echo("| workers | outcomes | seconds | outcomes/s | load before |\n|--|--|--|--|--|")
    for workers in (0, 1, 2):
        load = os.getloadavg()[0]
        clock = measure(out / str(workers), workers, limit)
        spent = clock.last - clock.since
        click.echo(
            f"| {workers or 'local'} | {clock.done} | {spent:.1f} | {clock.done / spent:.2f} | {load:.1f} |"
        )


if __name__ == "__main__":
    main()

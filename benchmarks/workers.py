"""One process against Ray workers on this machine: the same bytes, with workers killed at random, and what it takes.

    python benchmarks/workers.py identical --out DIR     # local, 1, 2 and 4 workers, quiet and with kills
    python benchmarks/workers.py kills --out DIR         # drivers and workers killed at random, resumed, compared
    python benchmarks/workers.py speed --out DIR         # outcomes per second, local, 1 and 2 workers

Needs the extra [ray]. What is compared: every result file but for `cost.seconds`, every witness file byte for byte, and
the lines of the journal but for their order and their seconds.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import medrobust_bench
from medrobust_bench.runs.observer import Observer
from medrobust_bench.threads import settle_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Outcome

MODEL, THREATS = "tiny-sft-letter", ("pgd-linf:steps=5", "noise:draws=2", "certified-l2-quick:n=64,n0=16")
_PROCESS = re.compile(r"opened .* process (\d+)$", re.MULTILINE)


class Clock(Observer):
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
        self.cpu = self.busy = 0.0
        self._before = _cpu_seconds("self")

    def asked(self, model: str, notes: Sequence[str]) -> None:
        """The first worker has opened the model."""
        self.since = time.perf_counter()
        self._machine = _busy_seconds()

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """Kill one of the workers, by lot."""
        self.done += len(outcomes)
        self.last = time.perf_counter()
        self.busy = _busy_seconds() - self._machine
        self.cpu = _cpu_seconds("self") - self._before + sum(_cpu_seconds(pid) for pid in self.alive())
        if len(self.killed) < self.kills and self._draw.random() < 0.3 and (victims := self.alive()):
            victim = self._draw.choice(victims)
            os.kill(victim, signal.SIGKILL)
            self.killed.append((self.done, victim))

    def alive(self) -> list[int]:
        """The workers' processes."""
        last = [_PROCESS.findall(path.read_text())[-1:] for path in self.logs.glob("*.log")]
        return [int(pid) for found in last for pid in found if Path(f"/proc/{pid}").exists()]


def _cpu_seconds(process: int | str) -> float:
    """CPU seconds of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float:
    """CPU seconds of everything on this machine so far."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


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
    asked: dict[str, Any] = {"model": MODEL, "threats": THREATS, "limit": limit, "batch_size": 4, "out": out}
    with engine as crew:
        run = medrobust_bench.evaluate(**asked, engine=crew, observer=clock)
        if run.failures:  # a question whose workers happened to be killed twice: as a user would go on
            medrobust_bench.evaluate(**asked, engine=crew, resume=True)
    return clock


@click.group()
def main() -> None:
    """Ray workers against one process."""
    settle_threads()


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
@click.option("--limit", default=24, show_default=True)
@click.option("--rounds", default=10, show_default=True, help="Runs from nothing to the end.")
@click.option("--each", default=3, show_default=True, help="Kills in each of them.")
@click.option("--seed", default=0, show_default=True, help="Of victims, moments and numbers of workers.")
def kills(out: Path, limit: int, rounds: int, each: int, seed: int) -> None:
    """Kill (SIGKILL) drivers and workers of the command line at random moments, resume, and compare what is written.

    A kill comes a random part of half a second after the journal has a random number of lines; a third of them hit the
    driver, and what resumes has a random number of workers (none to 4). Writes `DIR/kills.jsonl`.
    """
    measure(out / "unbroken", 0, limit)
    expected = content(out / "unbroken")
    with (out / "kills.jsonl").open("w") as log:
        for number in range(rounds):
            folder = out / f"round-{number}"
            events = _broken_run(
                folder, limit, each, len(expected["journal"]), random.Random(f"{seed}/{number}")
            )
            found = content(folder)
            line = {
                "round": number,
                "kills": events,
                **{part: found[part] == expected[part] for part in expected},
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            click.echo(json.dumps(line))


def _broken_run(folder: Path, limit: int, each: int, lines: int, draw: random.Random) -> list[dict[str, Any]]:
    """A run of the command line from nothing to its end, with kills; returns what was killed and when."""
    program = [sys.executable, "-m", "medrobust_bench", "run", "--out", str(folder)]
    begin = ["--model", MODEL, "--limit", str(limit), "--batch-size", "4"]
    begin += [word for threat in THREATS for word in ("--threat", threat)]
    moments = sorted(draw.randrange(lines) for _ in range(each))
    events: list[dict[str, Any]] = []
    workers = draw.choice((1, 2, 4))
    driver = _start([*program, *begin], workers, folder)
    for moment in moments:
        while driver.poll() is None and _lines(folder) < moment:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.5))
        alive = Clock(folder / "logs").alive() if workers else []
        hit_driver = draw.random() < 1 / 3 or not alive
        if driver.poll() is not None:
            break
        victim = driver.pid if hit_driver else draw.choice(alive)
        os.kill(victim, signal.SIGKILL)
        event: dict[str, Any] = {
            "victim": "driver" if hit_driver else "worker",
            "workers": workers,
            "after": _lines(folder),
        }
        events.append(event)
        if hit_driver:
            driver.wait()
            event["orphans"] = _left_after(alive, seconds=60)
            workers = draw.choice((0, 1, 2, 4))
            begun = (folder / "run.json").is_file()
            driver = _start([*program, "--resume"] if begun else [*program, *begin], workers, folder)
    if driver.wait() != 0:
        raise SystemExit(f"{folder}: exit code {driver.returncode}, see {folder}.log")
    return events


def _start(command: list[str], workers: int, folder: Path) -> subprocess.Popen[bytes]:
    with Path(f"{folder}.log").open("ab") as log:
        flags = ["--workers", str(workers)] if workers else []
        return subprocess.Popen([*command, *flags], stdout=log, stderr=log)


def _lines(folder: Path) -> int:
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


def _left_after(processes: Sequence[int], *, seconds: float) -> int:
    """How many of the processes are still there after so long, or as soon as none is."""
    end = time.monotonic() + seconds
    while (left := sum(Path(f"/proc/{pid}").exists() for pid in processes)) and time.monotonic() < end:
        time.sleep(0.2)
    return left


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--limit", default=48, show_default=True)
def speed(out: Path, limit: int) -> None:
    """Outcomes per second, from the moment at which the first worker has opened the model to the last outcome.

    Cores: what the processors were kept busy by anything, this run included, over the same time. CPU seconds are those
    of the driver and its workers over their lives, the opening of the model included.
    """
    click.echo("| workers | outcomes | seconds | outcomes/s | CPU s | cores busy | load before |")
    click.echo("|--|--|--|--|--|--|--|")
    for workers in (0, 1, 2):
        load = os.getloadavg()[0]
        clock = measure(out / str(workers), workers, limit)
        spent = clock.last - clock.since
        click.echo(
            f"| {workers or 'local'} | {clock.done} | {spent:.1f} | {clock.done / spent:.2f} | {clock.cpu:.1f} | "
            f"{clock.busy / spent:.2f} | {load:.1f} |"
        )


if __name__ == "__main__":
    main()

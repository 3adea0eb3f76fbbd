"""Is a run the same twice on a GPU, and what does it cost to ask for it?

    python -m benchmarks.repeatable                  # of safemed-r1-tiny and tiny-sft-letter, on CUDA and on the CPU
    python -m benchmarks.repeatable --device cpu     # to try the program out on any machine

The same `evaluate`, a process each: twice as it is, twice with `torch.use_deterministic_algorithms(True)` and
`CUBLAS_WORKSPACE_CONFIG=:4096:8`, and on the CPU. Each is held against the first: questions with another verdict or
another option, and images found that differ in a byte. Then each is replayed on the CPU, from its stored images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch
from tabulate import tabulate

import medrobust_bench
from medrobust_bench.records.journal import Journal

if TYPE_CHECKING:
    from medrobust_bench.records import Outcome

WAYS = ("as it is", "as it is, again", "deterministic", "deterministic, again", "on the CPU")
MODELS = ("safemed-r1-tiny", "tiny-sft-letter")


def attacked(run: Path) -> list[Outcome]:
    """What became of every attacked question, in order."""
    lines = Journal(run / "journal.jsonl").read()
    return sorted((one for one in lines if one.threat != "clean"), key=lambda one: (one.threat, one.question))


def differing(run: Path, first: Path) -> list[int]:
    """Questions with another verdict, with another option, with another image, of those in the first run."""
    pairs = list(zip(attacked(run), attacked(first), strict=True))
    return [
        sum(one.correct != other.correct for one, other in pairs),
        sum(one.choice != other.choice for one, other in pairs),
        sum(one.witness_sha256 != other.witness_sha256 for one, other in pairs),
    ]


def disagreements(run: Path) -> int:
    """What a replay on the CPU finds."""
    replayed = medrobust_bench.load_run(run).replay(device="cpu")
    return sum(len(recount.disagreements) for recounts in replayed.values() for recount in recounts)


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--limit", default=48, show_default=True, help="Phantoms that are attacked.")
@click.option("--threat", "threats", multiple=True, default=("pgd-linf",), show_default=True)
@click.option("--model", "models", multiple=True, default=MODELS, show_default=True)
@click.option("--alone", type=(Path, str, str), hidden=True, help="Do one run: folder, model, way.")
def main(
    device: str,
    limit: int,
    threats: tuple[str, ...],
    models: tuple[str, ...],
    alone: tuple[Path, str, str] | None,
) -> None:
    """Run the same several times and compare."""
    if alone is not None:
        out, model, way = alone
        torch.use_deterministic_algorithms(way.startswith("deterministic"))
        where = "cpu" if way == WAYS[-1] else device
        began = time.perf_counter()
        medrobust_bench.evaluate(model=model, threats=threats, limit=limit, device=where, out=out)
        click.echo(f"{time.perf_counter() - began:.1f}")
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            first = Path(folder) / model / WAYS[0]
            for way in WAYS:
                out = Path(folder) / model / way
                command = [sys.executable, "-W", "ignore", "-m", "benchmarks.repeatable", "--device", device]
                command += ["--limit", str(limit), "--alone", str(out), model, way]
                command += [part for threat in threats for part in ("--threat", threat)]
                strict = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if way.startswith("deterministic") else {}
                done = subprocess.run(command, env=os.environ | strict, stdout=subprocess.PIPE, text=True)
                if done.returncode:
                    rows.append((model, way, "FAULT", *4 * "–"))
                    continue
                seconds = done.stdout.split()[-1]
                rows.append((model, way, seconds, *differing(out, first), disagreements(out)))
    headers = (
        "Model",
        "Run",
        "Seconds",
        "Other verdicts",
        "Other options",
        "Other images",
        "Replay disagrees",
    )
    click.echo(f"{limit} phantoms under {', '.join(threats)}\n")
    click.echo(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()

"""What the commands that read a finished run cost, on a large one whose outcomes are invented.

    python -m benchmarks.finished_run --folder DIR --questions 1780 17800

Writes a table of so many questions with images of 64 × 64, and a run of `tiny-sft-letter` on it under nine attacks,
whose outcomes and witnesses nobody computed: about one answer in ten is wrong at first, and half of the others break.
Journal, witnesses, results and table are written by the package itself. Then gives each command in a process of its own
and prints exit code, CPU seconds and peak memory. What is too large for a pull request is submitted again, a folder
in the place of the hub (`benchmarks.hub_stand_in`). `verify` is given one submission; that
outcomes are invented it sees where neighbours contradict each other, else only a replay would.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tabulate import tabulate

import medrobust_bench
from medrobust_bench.data.image import canonical, to_png
from medrobust_bench.records import AttemptRecord, Outcome
from medrobust_bench.records.witness import Witness, sha256
from medrobust_bench.runs.audit.blindness import ANOTHER, REPLACEMENTS
from medrobust_bench.runs.engine.task import Done
from medrobust_bench.runs.engine.worker import Worker
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.threat import CLEAN
from medrobust_bench.specs.vocabulary import MODALITIES, QUESTION_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import ModelRecord
    from medrobust_bench.runs.engine.task import ChunkTask, ModelTask
    from medrobust_bench.runs.models import Asked

MODEL = "tiny-sft-letter"
THREATS = (
    "pgd-linf",
    "pgd-l2",
    "apgd-linf",
    "apgd-l2",
    "auto-linf",
    "auto-l2",
    "noise",
    "square",
    "rays",
)
SIDE = 64
LEVELS = 2
"""How far a witness is from its image: inside every budget of `THREATS`."""

_MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""
"""A small process in between: what a command took at most is otherwise no less than what its parent holds."""


class InventedOutcomes:
    """An engine whose workers open the model and then ask it nothing."""

    @contextmanager
    def opened(self, task: ModelTask) -> Iterator[Inventor]:
        """See `Engine`."""
        yield Inventor(task)


class Inventor:
    """Makes outcomes up, the same for a question and a threat every time."""

    def __init__(self, task: ModelTask) -> None:
        self._task, self._worker = task, Worker(task)

    @property
    def record(self) -> ModelRecord:
        """See `Workers`."""
        return self._worker.record

    @property
    def asked(self) -> Asked:
        """See `Workers`."""
        return self._worker.asked

    def work(self, chunks: Sequence[ChunkTask]) -> Iterator[Done]:
        """See `Workers`."""
        for chunk in chunks:
            images = [canonical(question.image) for question in chunk.questions]
            pngs = [
                _changed(image, question.id) for image, question in zip(images, chunk.questions, strict=True)
            ]
            digests = [sha256(image.tobytes()) for image in images]
            for name in (CLEAN.name, *THREATS):
                made = [
                    self._outcome(question, name, digest, png, _seen_instead(question, chunk))
                    for question, digest, png in zip(chunk.questions, digests, pngs, strict=True)
                ]
                witnesses = [
                    self._witness(outcome, digest, png)
                    for outcome, digest, png in zip(made, digests, pngs, strict=True)
                    if outcome.witness_sha256 is not None
                ]
                yield Done(chunk.index, tuple(made), tuple(witnesses))

    def _outcome(
        self, question: Question, threat: str, digest: str, png: bytes, seen: Sequence[str]
    ) -> Outcome:
        right = random.Random(f"{question.id} clean").random() < 0.9
        stands = right and random.Random(f"{question.id} {threat}").random() < 0.5
        other = (question.answer + 1) % len(question.options)
        clean = question.answer if right else other
        fields = {
            "model": self._task.model,
            "threat": threat,
            "question": question.id,
            "image_sha256": digest,
            "group": question.group,
            "modality": question.modality,
            "question_type": question.question_type,
            "answer": question.answer,
            "clean_choice": clean,
            "forward_passes": 22,
            "seconds": 1.0,
        }
        if threat == CLEAN.name:
            blind = dict.fromkeys(seen, other) if right and seen else None
            return Outcome(**fields, choice=clean, correct=right, blind_choices=blind)
        draw = random.Random(f"{question.id} {threat} losses")
        losses = tuple(float(f"{draw.random():.6g}") for _ in range(21))
        broken = right and not stands
        return Outcome(
            **fields,
            choice=question.answer if stands else other,
            correct=stands,
            attacked=right,
            witness_sha256=sha256(png) if broken else None,
            attempts=(AttemptRecord(objective="cross-entropy", losses=losses, broken=broken),)
            if right
            else (),
            backward_passes=20 if right else 0,
        )

    def _witness(self, outcome: Outcome, digest: str, png: bytes) -> Witness:
        return Witness(
            model=outcome.model,
            threat=outcome.threat,
            question=outcome.question,
            image=png,
            sha256=sha256(png),
            clean_sha256=digest,
            answer=outcome.answer,
            choice=outcome.choice,
            text="",
        )


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        command: it.
        code: exit code.
        seconds: of CPU.
        megabytes: peak memory of its largest process.
    """

    command: str
    code: int
    seconds: float
    megabytes: float


def write_table(folder: Path, questions: int) -> Path:
    """A table of questions about images of their own."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / "questions.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        columns = ("image", "question", "option_a", "option_b", "option_c", "option_d", "answer")
        table.writerow(("id", *columns, "modality", "question_type", "split"))
        for number in range(questions):
            draw = np.random.default_rng(number)
            small = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            (folder / "images" / f"{number}.png").write_bytes(
                to_png(small.repeat(SIDE // 8, 0).repeat(SIDE // 8, 1))
            )
            text = f"What does picture {number} show?"
            kind = MODALITIES[number % 8], QUESTION_TYPES[number % len(QUESTION_TYPES)]
            row = number, f"images/{number}.png", text, "one", "two", "three", "four", "ABCD"[number % 4]
            table.writerow((*row, *kind, "test"))
    return path


def write_run(table: Path, out: Path) -> None:
    """A finished run on it; nothing where it is there."""
    if not (out / "leaderboard.md").is_file():
        medrobust_bench.evaluate(
            model=MODEL, threats=THREATS, data=str(table), out=out, engine=InventedOutcomes()
        )


def cost(*command: str, env: dict[str, str]) -> Cost:
    """Give a command, and see what it takes; what it says goes to a file beside."""
    program = "benchmarks.hub_stand_in" if "HUB_STAND_IN" in env else "medrobust_bench"
    with Path(env["LOG"]).open("ab") as log:
        words = [sys.executable, "-c", _MEASURED, sys.executable, "-m", program, *command]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=log, env=os.environ | env, check=True)
    code, seconds, megabytes = done.stdout.split()[-3:]
    return Cost(command[0], int(code), float(seconds), float(megabytes))


def costs(folder: Path, questions: int) -> list[Cost]:
    """All commands on a run of so many questions, which is written first if it is not there."""
    out, submissions = folder / f"run-{questions}", folder / f"submissions-{questions}"
    table = folder / f"data-{questions}" / "questions.csv"
    if not table.is_file():
        write_table(table.parent, questions)
    write_run(table, out)
    env = {"LOG": str(folder / f"log-{questions}.txt"), "MEDROBUST_CACHE": str(folder / "cache")}
    done = [
        cost("run", "--resume", "--out", str(out), env=env),
        cost("show", str(out), env=env),
        cost("report", str(out), env=env),
        cost("compare", str(out), str(out), env=env),
        cost("submit", str(out), "--out", str(submissions), env=env),
    ]
    if done[-1].code:
        env |= {"HUB_STAND_IN": str(folder / f"hub-{questions}")}
        pushed = ("--out", str(submissions), "--push-to-hub", "owner/evidence")
        done.append(cost("submit", str(out), *pushed, env=env)._replace(command="submit --push-to-hub"))
    one = next(submissions.rglob(f"pgd-linf/{MODEL}.json"), submissions)
    return [*done, cost("verify", str(one), "--timeout", "3600", "--data", f"questions={table}", env=env)]


def main() -> None:
    """Write, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--questions", type=int, nargs="+", default=[1780, 17_800])
    given = parser.parse_args()
    rows = [
        (f"{questions:,}", one.command, one.code, f"{one.seconds:.1f}", f"{one.megabytes:.0f}")
        for questions in given.questions
        for one in costs(given.folder, questions)
    ]
    headers = ("Questions", "Command", "Exit code", "CPU, s", "Peak MB")
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


def _seen_instead(question: Question, chunk: ChunkTask) -> tuple[str, ...]:
    """What a question of the sample is shown in place of its image; nothing where it is not of the sample."""
    if question.id not in chunk.unseen:
        return ()
    return tuple(name for name in REPLACEMENTS if name != ANOTHER or chunk.unseen[question.id] is not None)


def _changed(image: np.ndarray, question: str) -> bytes:
    """The image with every value moved by at most `LEVELS`."""
    draw = np.random.default_rng(question_seed(0, question))
    noise = draw.integers(-LEVELS, LEVELS, image.shape, endpoint=True)
    return to_png((image + noise).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()

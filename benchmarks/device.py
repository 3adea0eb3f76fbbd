"""Everything that a run does, once, on a device: every threat and certification, replay, audit, both training loops.

    python -m benchmarks.device --device cuda

Each is cut down to a few steps of a shipped model, in float32 and in bfloat16, so that all of it takes a few minutes.
What is asked is whether it goes through, not what comes out. Clean answers are compared with those on the CPU.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from tabulate import tabulate

import medrobust_bench
from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.cohen import Certification
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.train.rl_settings import RlSettings
from medrobust_bench.train.settings import AttackSettings, SftSettings, Stage, TrainingData
from medrobust_bench.train.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import Outcome

SEARCHED = (
    "pgd-linf:steps=2",
    "pgd-l2:steps=2",
    "apgd-linf:steps=3",
    "apgd-l2:steps=3,loss=targeted",
    "auto-l2:pgd_steps=2,steps=3",
    "patch:places=1,steps=2",
    "patch-universal:epochs=1,training=2",
    "noise:draws=2",
    "square:queries=4",
    "rays:queries=6",
)
REMADE = (
    "injection:queries=4",
    "corruption:gaussian-noise,severity=3",
    "corruptions-quick",
    "corruptions-worst",
    "corruptions-adversarial:queries=2",
)
CERTIFIED = ("certified-l2:n=32", "certified-l2-quick:n=8", "certified-l2-exact:n0=4,n=16")
EVERY = (*SEARCHED, *REMADE, *CERTIFIED)
"""Every kind of threat and certification, cut down."""

MODELS = ("tiny-sft-letter", "tiny-sft-reasoning")
"""A model that answers with a letter, and one that writes."""

DTYPES = ("float32", "bfloat16")
STEPS = 2

FAULTS = (RuntimeError, TypeError, ValueError, LookupError, AssertionError, ArithmeticError)
"""What a trial may end in without ending the others."""


class Trial(NamedTuple):
    """One thing that was tried.

    Attributes:
        model: name of the shipped model.
        dtype: of its weights.
        what: was tried.
        seconds: that it took.
        fault: what it ended in; None where it went through.
    """

    model: str
    dtype: str
    what: str
    seconds: float
    fault: str | None


def meet(adapter: Adapter, chunk: Chunk, clean: Sequence[Outcome], text: str) -> list[Outcome]:
    """The outcomes of a chunk under a threat; altered and certified one by one, only the first question is."""
    threat = load_threat(text)
    if isinstance(threat, TrainedThreat):
        threat = threat.train(adapter, chunk.questions, seed=0)
    if isinstance(threat, Certification):
        return list(chunk.certify(threat, clean, [0]))
    if isinstance(threat, AlteringThreat):
        return chunk.select([0]).alter(threat, clean[:1])
    outcomes, _witnesses = chunk.attack(threat, clean)
    return outcomes


def trials(model: str, dtype: str, device: str, folder: Path) -> Iterator[Trial]:
    """Try everything with one model."""

    def tried(what: str, work: Callable[[], object]) -> Trial:
        start, fault = time.perf_counter(), None
        try:
            work()
        except FAULTS as error:
            fault = f"{type(error).__name__}: {error}"
        return Trial(model, dtype, what, time.perf_counter() - start, fault)

    questions = sample(open_data("phantoms"), 2, seed=0).questions
    adapter = load_model(resolve(model), device=device, dtype=dtype)
    chunk = Chunk(adapter, model, questions, seed=0)
    clean = chunk.clean()
    yield tried("clean answers as on the CPU", lambda: _as_on_the_cpu(model, dtype, questions, clean))
    for text in EVERY:
        yield tried(text, lambda text=text: meet(adapter, chunk, clean, text))  # type: ignore[misc]
    run = folder / f"{model}-{dtype}"
    settings = {"device": device, "dtype": dtype, "limit": 2}
    threats = ["pgd-linf:steps=2", "injection:queries=2"]
    yield tried("run", lambda: medrobust_bench.evaluate(model=model, threats=threats, out=run, **settings))
    yield tried("replay", lambda: _replay(run))
    yield tried("audit", lambda: medrobust_bench.load_run(run).audit(questions=2))


def training(model: str, dtype: str, folder: Path, *, cpu: bool) -> Iterator[Trial]:
    """Two steps of each training loop from a shipped model; bfloat16 is the trainers' mixed precision."""
    from medrobust_bench.train.reinforcement import reinforce
    from medrobust_bench.train.sft import fine_tune

    mode = resolve(model).answer_mode
    arguments = {"save_strategy": "no", "use_cpu": cpu, "bf16": dtype == "bfloat16"}
    data, attack = TrainingData(per_modality=2, validation_per_modality=1), AttackSettings(steps=1)
    task = Task.LETTER if mode is AnswerMode.LETTER else Task.REASON
    sft = SftSettings(
        base=model,
        mode=mode,
        data=data,
        attack=attack,
        stages=(Stage(steps=STEPS, tasks={task: 1.0}),),
        batch_size=4,
        evaluate_every=STEPS,
        trainer=arguments,
    )
    rl = RlSettings(
        base=model,
        mode=mode,
        data=data,
        attack=attack,
        steps=STEPS,
        prompts=2,
        group=2,
        max_new_tokens=32,
        kl=0.01,
        validate_every=STEPS,
        trl={**arguments, "disable_tqdm": True},
    )

    def quiet(line: str) -> None:
        """Swallow progress."""

    loops: dict[str, Callable[[Path], None]] = {
        "fine-tuning on attacked images": lambda out: fine_tune(sft, out, report=quiet),
        "adversarial GRPO": lambda out: reinforce(rl, out, report=quiet),
    }
    for name, loop in loops.items():
        start, fault = time.perf_counter(), None
        try:
            loop(folder / f"{model}-{dtype}-{name}")
        except FAULTS as error:
            fault = f"{type(error).__name__}: {error}"
        yield Trial(model, dtype, f"{name}, {STEPS} steps", time.perf_counter() - start, fault)


def everything(device: str, *, models: Sequence[str] = MODELS, dtypes: Sequence[str] = DTYPES) -> list[Trial]:
    """Try everything on a device."""
    done: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for dtype in dtypes:
                done += trials(model, dtype, device, Path(folder))
                done += training(model, dtype, Path(folder), cpu=device == "cpu")
    return done


def table(done: Sequence[Trial]) -> str:
    """What was tried, a row each, and a column for each model and precision: seconds, or the fault."""
    columns = list(dict.fromkeys((trial.model, trial.dtype) for trial in done))
    cells = {
        (trial.what, trial.model, trial.dtype): f"{trial.seconds:.1f}" if trial.fault is None else "FAULT"
        for trial in done
    }
    rows = [
        [what, *(cells.get((what, *column), "–") for column in columns)]
        for what in dict.fromkeys(trial.what for trial in done)
    ]
    headers = ["Seconds", *(" ".join(column) for column in columns)]
    lines = [tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)]
    lines += [
        f"\n{trial.model} {trial.dtype}, {trial.what}: {trial.fault}"
        for trial in done
        if trial.fault is not None
    ]
    return "\n".join(lines)


def _as_on_the_cpu(model: str, dtype: str, questions: Sequence[Question], clean: Sequence[Outcome]) -> None:
    there = Chunk(load_model(resolve(model), device="cpu", dtype=dtype), model, questions, seed=0).clean()
    choices = [[outcome.choice for outcome in outcomes] for outcomes in (clean, there)]
    if choices[0] != choices[1]:
        raise ValueError(f"options {choices[0]}, on the CPU {choices[1]}")


def _replay(run: Path) -> None:
    (recounts,) = medrobust_bench.load_run(run).replay().values()
    found = [what for recount in recounts for what in recount.disagreements]
    if found:
        raise ValueError("; ".join(found))


@click.command()
@click.option("--device", default="cuda", show_default=True)
def main(device: str) -> None:
    """Try everything that a run does on a device."""
    done = everything(device)
    click.echo(table(done))
    if any(trial.fault is not None for trial in done):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

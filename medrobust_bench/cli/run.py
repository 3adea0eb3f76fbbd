"""`medrobust run`."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from medrobust_bench.cli.ending import SHOWN
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.records import Failure
    from medrobust_bench.runs.engine.engine import Engine
    from medrobust_bench.specs.settings import RunSettings


@click.command("run")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Card id, card file, checkpoint folder, hub id, or openai:NAME of a server; as SOURCE or SOURCE=NAME; "
    "repeatable.",
)
@click.option(
    "--threat",
    "threats",
    multiple=True,
    metavar="NAME",
    help="Official name, name:key=value,… or YAML file; repeatable.",
)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="A further metric over outcomes; repeatable."
)
@click.option(
    "--data",
    multiple=True,
    metavar="SOURCE",
    help="'phantoms', a data card's id or file, a table, a folder (see `medrobust data list`). Several make a run for "
    "each, and their macro average.",
)
@click.option(
    "--images",
    multiple=True,
    metavar="DIR",
    help="Folder of the data set's images, or the one that holds it, where it is not beside the questions; with "
    "several data sets, SOURCE=DIR.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="Image-disjoint part of the data.",
)
@click.option(
    "--modality", "modalities", multiple=True, metavar="NAME", help="Only this modality; repeatable."
)
@click.option("--limit", type=int, metavar="N", help="A balanced, seeded sample of N questions.")
@click.option(
    "--answer-mode",
    type=click.Choice(["letter", "option-text", "reasoning", "generate"]),
    help="Instead of the card's.",
)
@click.option(
    "--max-new-tokens",
    type=int,
    metavar="N",
    help="Length limit of a generated answer, instead of the card's.",
)
@click.option(
    "--revision", metavar="NAME", help="Hub commit, branch or tag of the model, instead of the card's."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for everything that is written."
)
@click.option("--resume", is_flag=True, help="Continue the interrupted run in --out.")
@click.option(
    "--extend",
    is_flag=True,
    help="Add --model, --threat, --metric or a larger --limit to the run in --out; what is there is kept.",
)
@click.option(
    "--skip-invalid", is_flag=True, default=None, help="Leave faulty rows out, and say so in the result."
)
@click.option(
    "--skip-failed/--no-skip-failed",
    default=None,
    help="Leave questions that fail in a model out of every result, and say so there.",
)
@click.option(
    "--max-failed", type=float, metavar="SHARE", help="Stop where more of a model's questions fail (0.1)."
)
@click.option("--batch-size", metavar="N|auto", help="Questions per chunk.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, …, or all: spread over all GPUs.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), help="Type of the weights."
)
@click.option(
    "--float32-attack/--no-float32-attack",
    default=None,
    help="Attack what a model in half precision leaves standing again in float32 (default: yes).",
)
@click.option("--seed", type=int, help="Seed of the sample and of every attack.")
@click.option("--base-url", metavar="URL", help="Address of the server of openai:NAME, up to and with /v1.")
@click.option(
    "--answers-from",
    metavar="NAME",
    help="What the server at --base-url calls the same weights: it answers for them, gradients stay here.",
)
@click.option(
    "--key-variable",
    metavar="NAME",
    help="Environment variable with the server's key, if not OPENAI_API_KEY.",
)
@click.option("--concurrency", type=int, metavar="N", help="Requests to a server at the same time.")
@click.option("--price-input", type=float, metavar="P", help="The server's price per million tokens read.")
@click.option("--price-output", type=float, metavar="P", help="… and per million tokens written.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes that share the work, by Ray.")
@click.option(
    "--ray",
    "address",
    envvar="RAY_ADDRESS",
    metavar="ADDRESS",
    help="Join a Ray cluster: auto or HOST:PORT; by default $RAY_ADDRESS.",
)
@click.option("--cpus-per-worker", type=float, metavar="N", help="CPUs set apart for a worker (1).")
@click.option(
    "--gpus-per-worker", type=float, metavar="N", help="GPUs of a worker, fractions too; by default one."
)
@click.option(
    "--worker-timeout", type=float, metavar="SECONDS", help="Replace a worker that says nothing for so long."
)
@click.option(
    "--trust-remote-code", is_flag=True, default=None, help="Run code from the checkpoint's repository."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be done and how long it takes at most, timed on a few questions; nothing is written.",
)
def command(
    config: Path | None, out: Path | None, resume: bool, extend: bool, dry_run: bool, **flags: Any
) -> None:
    """Measure how often models still answer right when somebody tampers with the image.

    With no arguments: the shipped models on a balanced sample of synthetic phantoms, clean, attacked and
    certified. CONFIG is a YAML file with the same settings; flags override it.
    """
    from medrobust_bench.records.folder import RunFolder, new_folder
    from medrobust_bench.records.suite import is_suite, read_suite
    from medrobust_bench.runs.inputs import unknown_names
    from medrobust_bench.specs.settings import read_settings, settings_from

    crew = _Crew(
        workers=flags.pop("workers"),
        address=flags.pop("address"),
        cpus_per_worker=flags.pop("cpus_per_worker") or 1,
        gpus_per_worker=flags.pop("gpus_per_worker"),
        timeout=flags.pop("worker_timeout"),
    )
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    images = list(given.pop("images", ()))
    base = read_settings(config) if config else {}
    if resume or extend:
        if out is None:
            where = "--extend" if extend else "--resume"
            raise InvalidInputError([Problem(where, "needs the folder of the run", "add --out DIR")])
        if is_suite(out) and extend:
            what, remedy = "adds to one run, and this folder holds several", f"extend each: --out {out}/NAME"
            raise InvalidInputError([Problem("--extend", what, remedy)])
        if is_suite(out):
            begun = list(read_suite(out).runs.values())
            images = images or [f"{one.data}={one.images}" for one in begun if one.images is not None]
            sources = [one.data for one in begun]
            base = {**begun[0].model_dump(), "images": None, "data": sources, **base}
        else:
            base = {**RunFolder(out).read().plan.settings.model_dump(), **base}
    where = f"{config} and flags" if config and given else str(config or "flags")
    values = {**base, **given}
    several = values.get("data", ())
    if isinstance(several, list | tuple) and len(several) > 1:
        _run_several(values, images, out, crew, resume=resume, dry_run=dry_run, where=where)
        return
    if isinstance(several, list | tuple) and several:
        values["data"] = several[0]
    if len(images) > 1:
        what, remedy = "names several folders for one data set", "name the one that holds them"
        raise InvalidInputError([Problem("--images", what, remedy)])
    settings = settings_from({**values, **({"images": images[0]} if images else {})}, where=where)
    out = out or new_folder(settings.data)
    if not (resume or extend) and (
        problems := [*unknown_names(settings), *RunFolder(out).check(resume=False)]
    ):
        raise InvalidInputError(problems)

    if dry_run:
        _forecast(settings, out, resume=resume, extend=extend)
        return

    from medrobust_bench.cli.progress import progress
    from medrobust_bench.reports.tables import print_run
    from medrobust_bench.runs.evaluate import carry_out
    from medrobust_bench.runs.request import Request

    with _stopped_by_hand(out), _engine(crew, out) as engine, progress() as observer:
        finished = carry_out(
            Request(settings), out, resume=resume, extend=extend, observer=observer, engine=engine
        )
    print_run(finished.results)
    for model in finished.models:
        if (usage := finished.usage(model)) is not None:
            click.echo(f"\nThe server of {model}: {usage.summary}")
    click.echo(f"\nWritten to {out}:")
    for name, what in (
        ("leaderboard.md", "this table"),
        ("results/", f"{len(finished.results)} result files (JSON)"),
        ("witnesses/", "the images that broke an answer (Parquet)"),
        ("journal.jsonl", "every question under every threat"),
        ("run.json", "plan, settings, environment"),
        ("logs/", "what each worker did, and why it died"),
    ):
        if (out / name).exists():  # no image is stored under threats that can be made again
            click.echo(f"  {out / name}  {what}")
    if finished.failures:
        _list_failures(finished.failures, out)
        raise click.exceptions.Exit(1)


def _forecast(settings: RunSettings, out: Path, *, resume: bool, extend: bool = False) -> None:
    """Print what a run would take."""
    from rich.console import Console

    from medrobust_bench.runs.evaluate import prepare
    from medrobust_bench.runs.forecast import forecast
    from medrobust_bench.runs.request import Request

    seen = forecast(prepare(Request(settings), out, resume=resume, extend=extend))
    Console(width=None if sys.stdout.isatty() else 120).print(seen.grid().rich())
    for sentence in seen.sentences():
        click.echo(f"- {sentence}")
    click.echo("Nothing was written.")


def _run_several(
    values: dict[str, Any],
    images: list[str],
    out: Path | None,
    crew: _Crew,
    *,
    resume: bool,
    dry_run: bool,
    where: str,
) -> None:
    """A run for each of several data sets, and their average."""
    from medrobust_bench.cli.progress import progress
    from medrobust_bench.records.folder import RunFolder, new_folder
    from medrobust_bench.reports.macro import print_averages
    from medrobust_bench.runs.evaluate_suite import carry_out_suite, one_for_each
    from medrobust_bench.runs.inputs import unknown_names
    from medrobust_bench.runs.request import Request

    settings = one_for_each(values, images=images, where=where)
    if not resume and (problems := unknown_names(next(iter(settings.values())))):
        raise InvalidInputError(problems)
    out = out or new_folder(*settings)
    if dry_run:
        for name, one in settings.items():
            click.echo(f"{name}:")
            _forecast(one, out / name, resume=resume and not RunFolder(out / name).is_empty())
        return
    asked = {name: Request(one) for name, one in settings.items()}
    with _stopped_by_hand(out), _engine(crew, out) as engine:
        suite = carry_out_suite(asked, out, resume=resume, observe=progress, engine=engine)
    print_averages(suite.macro_averages())
    click.echo(f"\nWritten to {out}:")
    for name in suite.runs:
        click.echo(f"  {out / name}/  a run by itself: `medrobust show {out / name}`")
    click.echo(f"  {out / 'leaderboard.md'}  all tables")
    click.echo(f"  {out / 'macro_average.json'}  the averages and what they are made of")
    failed = [run for run in suite.runs.values() if run.failures]
    for run in failed:
        _list_failures(run.failures, run.folder)
    if failed:
        raise click.exceptions.Exit(1)


class _Crew(TypedDict):
    """What the flags say about workers; see `RayEngine`."""

    workers: int | None
    address: str | None
    cpus_per_worker: float
    gpus_per_worker: float | None
    timeout: float | None


@contextmanager
def _engine(crew: _Crew, out: Path) -> Iterator[Engine | None]:
    """The engine that the flags ask for; None is this process."""
    if crew["workers"] is None and crew["address"] is None:
        yield None
        return
    from medrobust_bench.runs.engine.cluster import RayEngine

    with RayEngine(**crew, logs=out / "logs") as engine:
        yield engine


@contextmanager
def _stopped_by_hand(out: Path) -> Iterator[None]:
    """Inside it, Ctrl-C says how to go on."""

    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"\nStopped. Everything finished so far is kept; go on with:\n  medrobust run --resume --out {out}",
            err=True,
        )
        raise click.exceptions.Exit(130) from None


def _list_failures(failures: Sequence[Failure], out: Path) -> None:
    """What came to no outcome, and what can be done about it."""
    click.secho(f"\n{len(failures)} outcomes are missing, and counted nowhere:", fg="red", err=True)
    for failure in failures[:SHOWN]:
        click.echo(f"  {failure}", err=True)
    if len(failures) > SHOWN:
        click.echo(f"  … and {len(failures) - SHOWN} more, in {out / 'journal.jsonl'}", err=True)
    click.echo(
        f"Try them again with `medrobust run --resume --out {out}`; add --skip-failed to leave them out.",
        err=True,
    )

"""`medrobust replay`: is a run's robust accuracy what its witnesses show?"""

from __future__ import annotations

from pathlib import Path

import click

from medrobust_bench.cli.options import images_option
from medrobust_bench.problems import InvalidInputError, Problem

_SHOWN = 10


@click.command("replay")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--data", metavar="SOURCE", help="Where the data set is now, if not where it was.")
@images_option
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, … instead of the run's.")
def command(run: Path, data: str | None, images: Path | None, device: str | None) -> None:
    """Recount the robust accuracy of RUN from its stored witnesses: forward passes only, no attack.

    Every clean image and every witness is answered again on the deployed path, and every witness is held against
    its budget. Exits with 1 if anything disagrees with what the run reports.
    """
    from tabulate import tabulate

    from medrobust_bench.runs.suite import load_runs

    recounts = [
        (finished.record.plan.data.name, model, recount)
        for finished in load_runs(run, moved=(data, images) != (None, None))
        for model, counts in finished.replay(data=data, images=images, device=device).items()
        for recount in counts
    ]
    if not any(recount.questions for _, _, recount in recounts):
        remedy = "see the reasons in its journal.jsonl, then finish it with `medrobust run --resume`"
        raise InvalidInputError([Problem(str(run), "has no question that was answered throughout", remedy)])
    rows = [
        (
            name,
            model,
            recount.threat,
            _share(recount.reported, recount.questions),
            _share(recount.recounted, recount.questions),
            recount.witnesses,
            len(recount.disagreements),
        )
        for name, model, recount in recounts
    ]
    header = ("Data set", "Model", "Threat", "Reported %", "Recounted %", "Witnesses", "Disagreements")
    click.echo(
        tabulate(
            rows, headers=header, disable_numparse=True, colalign=("left", "left", "left", *["right"] * 4)
        )
    )
    disagreements = [
        f"{name}, {model} under {recount.threat}: {what}"
        for name, model, recount in recounts
        for what in recount.disagreements
    ]
    for what in disagreements[:_SHOWN]:
        click.secho(what, fg="red", err=True)
    if len(disagreements) > _SHOWN:
        click.echo(f"… and {len(disagreements) - _SHOWN} more", err=True)
    if disagreements:
        raise click.exceptions.Exit(1)


def _share(right: int, questions: int) -> str:
    """In per cent; a dash where every question failed."""
    return f"{100 * right / questions:.1f}" if questions else "–"

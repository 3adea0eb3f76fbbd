"""`medrobust transfer`: do images that break one model break another?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medrobust_bench.cli.options import images_option


@click.command("transfer")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--model",
    required=True,
    metavar="NAME",
    help="The target: card id, card file, checkpoint folder, hub id, or openai:NAME of a server.",
)
@click.option(
    "--threat", "threats", multiple=True, metavar="NAME", help="Only images of this threat; repeatable."
)
@click.option("--data", metavar="SOURCE", help="Where the data set is now, if not where it was.")
@images_option
@click.option(
    "--answer-mode",
    type=click.Choice(["letter", "option-text", "reasoning", "generate"]),
    help="Instead of the target's card's.",
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, … instead of the run's.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), help="Type of the weights."
)
@click.option("--base-url", metavar="URL", help="Address of the server of openai:NAME, up to and with /v1.")
@click.option("--key-variable", metavar="NAME", help="Environment variable with the server's key.")
@click.option("--concurrency", type=int, metavar="N", help="Requests to a server at the same time.")
@click.option(
    "--trust-remote-code", is_flag=True, default=None, help="Run code from the checkpoint's repository."
)
def command(run: Path, model: str, **flags: Any) -> None:
    """Put the images that broke the models of RUN to another model.

    Every clean image and every stored image is answered on the other model's deployed path; no attack runs. Writes
    result files and a table into RUN/transfer/.
    """
    from rich.console import Console

    from medrobust_bench.reports.transfer_table import LEGEND, transfer_grids
    from medrobust_bench.runs.suite import load_runs

    given = {name: value for name, value in flags.items() if value not in (None, ())}
    console, folders = Console(), []
    for opened in load_runs(run, moved=bool(given.keys() & {"data", "images"})):
        transfers = opened.transfer(model, tell=lambda what: click.echo(what, err=True), **given)
        folders.append(opened.transfer_folder(transfers[0].target.id))
        for grid in transfer_grids(transfers):
            console.print(grid.rich())
    console.print(LEGEND, markup=False, style="dim")
    click.echo(f"Written to {', '.join(map(str, folders))}")

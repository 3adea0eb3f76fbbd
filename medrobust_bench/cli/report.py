"""`medrobust report`."""

from __future__ import annotations

from pathlib import Path

import click

from medrobust_bench.cli.options import images_option


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file.  [default: RUN/report/index.html]",
)
@click.option("--data", metavar="SOURCE", help="Where the data set is now.  [default: where it was]")
@images_option
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    metavar="N",
    help="Size of the gallery; 0 leaves every image of the data set out.",
)
def command(run: Path, out: Path | None, data: str | None, images: Path | None, examples: int) -> None:
    """Write one HTML file about a finished run that needs nothing else, and its figures as SVG and PNG.

    The gallery shows images of the data set: the data set's licence holds for the file as well.
    """
    from medrobust_bench.problems import InvalidInputError, Problem
    from medrobust_bench.runs.suite import load_runs

    finished = load_runs(run, moved=(data, images) != (None, None))
    if out is not None and len(finished) > 1:
        what = f"names one page, and {run} holds runs on {len(finished)} data sets"
        raise InvalidInputError([Problem("--out", what, "leave it out, or give the folder of one run")])
    for one in finished:
        page, *figures = one.report(
            out, data=data, images=images, examples=examples, tell=lambda what: click.echo(what, err=True)
        )
        click.echo(page)
        click.echo(f"{page.parent / 'figures'}  {len(figures)} files")

"""`medrobust leaderboard`: tables from result files."""

from __future__ import annotations

from pathlib import Path

import click

from medrobust_bench.cli.options import OWN_CARDS, cards_option, data_option, images_option, places


@click.group()
def command() -> None:
    """Build tables and pages from submissions; list the official questions."""


@command.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboards/submissions"),
    show_default=True,
    help="Folder that is searched for submissions and result files (*.json).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboards"),
    show_default=True,
    help="Folder for the tables, and for the pages in site/.",
)
@cards_option
@data_option
def build(
    results: Path, out: Path, cards: Path | None, data: tuple[str, ...], images: tuple[str, ...]
) -> None:
    """Write one table per data set and threat, an index, and a static site.

    Submissions are shown as they are: `medrobust verify` them first. Galleries need the data set.
    """
    from medrobust_bench.leaderboard.build import build as build_tables
    from medrobust_bench.leaderboard.registry import read_registry
    from medrobust_bench.leaderboard.site.pages import write_site
    from medrobust_bench.leaderboard.submissions import read_results

    where = places(data, images)
    known, problems = read_registry(cards or (OWN_CARDS if OWN_CARDS.is_dir() else None))
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)
    for path in build_tables(results, out, cards=known):
        click.echo(path)
    pages = write_site(read_results(results, cards=known), out / "site", cards=known, data=where)
    click.echo(pages[0])


@command.command()
@click.option(
    "--data", "source", default="phantoms", show_default=True, metavar="SOURCE", help="As for `run`."
)
@images_option
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(min=1),
    help="Instead of 100, 300 and 1000; repeatable.",
)
@click.option("--ids", is_flag=True, help="Print the ids of the questions, one a line.")
def subset(source: str, images: Path | None, sizes: tuple[int, ...], ids: bool) -> None:
    """Show the official samples of a data set: nested, seeded, balanced over modalities and question types.

    `medrobust run --data SOURCE --limit 100` asks the first of them; a cheap gate is thus a part of the full
    evaluation.
    """
    from tabulate import tabulate

    from medrobust_bench.data.source import open_data, sample
    from medrobust_bench.leaderboard.standing import OFFICIAL_SIZES

    dataset = open_data(source, images=images)
    rows = []
    for size in sizes or OFFICIAL_SIZES:
        part = sample(dataset, size)
        if ids:
            click.echo("\n".join(question.id for question in part.questions))
        modalities = {question.modality for question in part.questions}
        complete = "" if len(part.questions) == size else "the whole split"
        rows.append((size, len(part.questions), len(modalities), part.digest(), complete))
    if not ids:
        headers = ("Size", "Questions", "Modalities", "Digest", "")
        click.echo(f"{dataset.name}, {dataset.split} split, {len(dataset.questions)} questions\n")
        click.echo(tabulate(rows, headers=headers, disable_numparse=True))

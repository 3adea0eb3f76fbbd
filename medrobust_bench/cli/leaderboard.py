"""`medrobust leaderboard`: tables from result files."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Build the leaderboard tables from results."""


@command.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboards/results"),
    show_default=True,
    help="Folder that is searched for result files (*.json).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboards"),
    show_default=True,
    help="Folder for the tables.",
)
def build(results: Path, out: Path) -> None:
    """Write one table per data set and threat, and an index."""
    from medrobust_bench.leaderboard.build import build as build_tables
    from medrobust_bench.models.cards import read_cards

    for path in build_tables(results, out, cards=read_cards()):
        click.echo(path)

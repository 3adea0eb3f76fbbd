"""`medrobust card`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.cli.options import cards_option, registry
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.records import Result


@click.command("card")
@click.argument("model")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboards/submissions"),
    show_default=True,
    help="Folder of submissions, or the results/ folder of a run.",
)
@cards_option
def command(model: str, results: Path, cards: Path | None) -> None:
    """Print a model card's robustness section, with model-index metadata as the Hugging Face hub reads it."""
    from medrobust_bench.leaderboard.hub_card import model_index, section
    from medrobust_bench.leaderboard.submissions import read_results

    found = [entry.result for entry in read_results(results, cards=registry(cards))]
    mine = [result for result in found if result.model.id == model]
    if not mine:
        known = ", ".join(sorted({result.model.id for result in found}))
        raise InvalidInputError([Problem(str(results), f"has no results of {model!r}", f"there are {known}")])
    groups: dict[str, list[Result]] = {}
    for result in mine:
        groups.setdefault(result.data.digest, []).append(result)
    click.echo(model_index(mine))
    for group in groups.values():
        click.echo(section(group))

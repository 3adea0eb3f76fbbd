"""`medrobust verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.cli.options import cards_option, data_option, places, registry
from medrobust_bench.problems import InvalidInputError, Problem, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.leaderboard.replay import Replay
    from medrobust_bench.leaderboard.verification import Verdict
    from medrobust_bench.models.cards import Card


@click.command("verify")
@click.argument("submissions", nargs=-1, required=True, type=click.Path(path_type=Path))
@data_option
@cards_option
@click.option(
    "--replay",
    "count",
    type=click.IntRange(min=1),
    metavar="K",
    help="Answer K random images again with the model itself, witnesses among them; 300 bound disagreement below 1 %.",
)
@click.option("--seed", type=int, help="Seed of that draw.  [default: drawn afresh]")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="For --replay.")
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a report."
)
def command(
    submissions: tuple[Path, ...],
    data: tuple[str, ...],
    cards: Path | None,
    count: int | None,
    seed: int | None,
    device: str,
    markdown_file: Path | None,
) -> None:
    """Check submissions, files or whole folders of them.

    Recomputes every number, holds every image against its budget and every certificate against its counts.
    Needs no GPU and no model. Exit code 0: all accepted; 1: something is wrong with one; 2: bad input.
    """
    from medrobust_bench.leaderboard.verification import verify

    where, known = places(data), registry(cards)
    blocks = []
    unchecked: list[Problem] = []
    failed = 0
    for path in _files(submissions):
        try:
            verdict = verify(path, cards=known, data=where)
        except InvalidInputError as error:
            unchecked += error.problems
            blocks.append([f"{path}: not checked", *(f"  {problem}" for problem in error.problems)])
            continue
        replayed = None
        if count is not None and verdict.accepted:
            replayed = _replay(verdict, known, count=count, seed=seed, device=device)
        failed += not verdict.accepted or bool(replayed and replayed.disagreements)
        lines = _lines(verdict, replayed)
        blocks.append(lines)
        for line in lines:
            click.echo(line)
    if markdown_file is not None:
        from medrobust_bench.reports.grid import escape_markdown

        pages = ("\n".join(f"- {escape_markdown(line.strip())}" for line in lines) for lines in blocks)
        markdown_file.write_text("\n\n".join(pages) + "\n", encoding="utf-8")
    if unchecked:
        raise InvalidInputError(list(dict.fromkeys(unchecked)))
    if failed:
        raise click.exceptions.Exit(1)


def _files(submissions: Sequence[Path]) -> list[Path]:
    """The submission files, below folders at `<data>/<threat>/<model>.json`."""
    files: list[Path] = []
    problems = []
    for path in submissions:
        found = sorted(file for file in path.rglob("*.json") if file.is_file()) if path.is_dir() else [path]
        if not found or not found[0].exists():
            problems.append(Problem(str(path), "holds no submission", "give what `medrobust submit` wrote"))
        files += found
    if problems:
        raise InvalidInputError(problems)
    return files


def _replay(
    verdict: Verdict, cards: Mapping[str, Card], *, count: int, seed: int | None, device: str
) -> Replay:
    import secrets

    from medrobust_bench.leaderboard.replay import replay
    from medrobust_bench.models.cards import card_of

    assert verdict.entry is not None
    card = card_of(verdict.entry.result.model.id, cards)
    assert card is not None, "an accepted submission has a card"
    return replay(
        verdict, card, count=count, seed=secrets.randbits(32) if seed is None else seed, device=device
    )


def _lines(verdict: Verdict, replayed: Replay | None) -> list[str]:
    state = "accepted" if verdict.accepted else "REJECTED"
    lines = [printable(f"{verdict.path}: {state}{', ranked' if verdict.ranked else ''}")]
    lines += [f"  wrong: {fault}" for fault in verdict.faults]
    if verdict.accepted:
        lines += [printable(f"  not ranked: {reason}") for reason in verdict.unranked]
    if replayed is not None and replayed.disagreements:
        lines += [printable(f"  replay: {one}") for one in replayed.disagreements[:20]]
    elif replayed is not None:
        lines.append(
            f"  replay: {replayed.asked} of {replayed.asked} images answered as submitted; with 95 % confidence "
            f"at most {100 * replayed.bound:.2f} % of its answers are not this model's"
        )
    return lines

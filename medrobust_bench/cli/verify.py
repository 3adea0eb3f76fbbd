"""`medrobust verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.cli.options import OWN_CARDS, cards_option, data_option, places
from medrobust_bench.problems import InvalidInputError, Problem, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.certify.fault import Fault
    from medrobust_bench.leaderboard.replay import Wish
    from medrobust_bench.leaderboard.report import Report
    from medrobust_bench.models.cards import Card


@click.command("verify")
@click.argument("submissions", nargs=-1, required=True, type=click.Path(path_type=Path))
@data_option
@cards_option
@click.option(
    "--change",
    "base",
    metavar="COMMIT",
    help="Only what differs from this commit, as a whole: the files that a pull request touches, and whose they are.",
)
@click.option("--author", metavar="NAME", help="GitHub account that asks for the change; with --change.")
@click.option(
    "--replay",
    "count",
    type=click.IntRange(min=1),
    metavar="K",
    help="Do K random claims again with the model itself, of every kind, most of what ranks: standing questions meet "
    "their attack, certificates their draws.",
)
@click.option(
    "--replay-minutes",
    "minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="As --replay, as many as about M minutes allow for each submission.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of that draw.  [default: drawn afresh]")
@click.option(
    "--hidden-seed-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --replay: also ask fresh phantoms rendered from the seed in this file, which nobody else knows.",
)
@click.option(
    "--hidden-phantoms",
    "fresh",
    type=click.IntRange(min=20, max=10_000),
    metavar="N",
    help="How many of them; the more, the smaller a loss that is noticed.  [default: 100]",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep what came of --replay, for the board: leaderboards/replays.",
)
@click.option("--by", metavar="NAME", help="Who did it; with --record.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="For --replay.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="For each submission.  [default: 600, with --replay-minutes four times those besides]",
)
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a report."
)
def command(
    submissions: tuple[Path, ...],
    data: tuple[str, ...],
    images: tuple[str, ...],
    cards: Path | None,
    base: str | None,
    author: str | None,
    count: int | None,
    minutes: float | None,
    seed: int | None,
    hidden_seed_file: Path | None,
    fresh: int | None,
    record: Path | None,
    by: str | None,
    device: str,
    timeout: float | None,
    markdown_file: Path | None,
) -> None:
    """Check submissions, files or whole folders of them.

    Recomputes every number, holds every image against its budget, every certificate against its counts and every
    submission against the others of its folder. Needs no GPU and no model. Exit code 0: all accepted; 1: something is
    wrong with one; 2: bad input.
    """
    from medrobust_bench.leaderboard.guard import Ended, Guard
    from medrobust_bench.leaderboard.registry import read_registry
    from medrobust_bench.leaderboard.replay.record import keep
    from medrobust_bench.leaderboard.report import Report, report

    wish = _wish(count, minutes, seed, device, hidden_seed_file, fresh)
    if record is not None and (wish is None or by is None):
        raise click.UsageError("--record keeps what --replay or --replay-minutes gives: give one, and --by")
    where = places(data, images)
    known, unchecked = read_registry(cards or (OWN_CARDS if OWN_CARDS.is_dir() else None))
    if base is None:
        files, blocks = _files(submissions), [_stray_lines(submissions)]
    else:
        files, blocks = _changed(submissions, base, author, known)
    failed = sum(map(bool, blocks))
    _tell(blocks)
    seconds = timeout or 600 + 240 * (minutes or 0)
    with Guard(seconds=seconds, memory=4 * 10**9, prepare=report.__module__) as guard:
        for path in files:
            try:
                found: Report | Ended = guard.call(report, path, cards=known, data=where, wish=wish)
            except InvalidInputError as error:
                unchecked += error.problems
                blocks.append([f"{path}: not checked", *(f"  {problem}" for problem in error.problems)])
                _tell(blocks[-1:])
                continue
            if isinstance(found, Ended):
                found = Report(path, (_ended(found),))
            failed += not found.agrees
            blocks.append(found.lines())
            _tell(blocks[-1:])
            if record is not None and by is not None and found.replay is not None:
                keep(found.replay, path, record, by=by)
    if markdown_file is not None:
        _write_markdown(markdown_file, blocks)
    if unchecked:
        raise InvalidInputError(list(dict.fromkeys(unchecked)))
    if failed:
        raise click.exceptions.Exit(1)


def _wish(
    count: int | None,
    minutes: float | None,
    seed: int | None,
    device: str,
    hidden: Path | None,
    fresh: int | None,
) -> Wish | None:
    """What is to be done again."""
    import secrets

    from medrobust_bench.leaderboard.replay import Wish
    from medrobust_bench.leaderboard.replay.hidden import FRESH, read_seed

    if fresh is not None and hidden is None:
        raise click.UsageError("--hidden-phantoms needs --hidden-seed-file")
    if count is None and minutes is None:
        if hidden is not None:
            raise click.UsageError("--hidden-seed-file needs --replay or --replay-minutes")
        return None
    if count is not None and minutes is not None:
        raise click.UsageError("--replay counts claims, --replay-minutes time: give one of them")
    return Wish(
        seed=secrets.randbits(32) if seed is None else seed,
        count=count,
        minutes=minutes,
        device=device,
        hidden_seed=None if hidden is None else read_seed(hidden),
        fresh=FRESH if fresh is None else fresh,
    )


def _tell(blocks: Sequence[Sequence[str]]) -> None:
    """Said as soon as it is known: with --replay the next submission may take long."""
    for line in (line for block in blocks for line in block):
        click.echo(printable(line))


def _ended(ended: object) -> Fault:
    from medrobust_bench.certify.fault import Fault

    return Fault("verification", str(getattr(ended, "why", ended)))


def _files(submissions: Sequence[Path]) -> list[Path]:
    """The submission files, below folders at `<data>/<threat>/<model>.json`."""
    files: list[Path] = []
    problems = []
    for path in submissions:
        found = (
            sorted(file for file in path.glob("*/*/*.json") if file.is_file()) if path.is_dir() else [path]
        )
        if not found or not found[0].exists():
            problems.append(Problem(str(path), "holds no submission", "give what `medrobust submit` wrote"))
        files += found
    if problems:
        raise InvalidInputError(problems)
    return files


def _stray_lines(submissions: Sequence[Path]) -> list[str]:
    """What lies in folders of submissions and belongs to none."""
    from medrobust_bench.leaderboard.folder import strays

    found = [stray for path in submissions if path.is_dir() for stray in strays(path)]
    return [f"{str(stray)!r}: belongs to no submission" for stray in found]


def _changed(
    submissions: Sequence[Path], base: str, author: str | None, cards: dict[str, Card]
) -> tuple[list[Path], list[list[str]]]:
    """The submission files that a change concerns, and what is wrong with the change."""
    from medrobust_bench.leaderboard.change import SUBMISSIONS, check_change, entries, read_change

    if (
        author is None
        or len(submissions) != 1
        or not submissions[0].absolute().match(f"*/{SUBMISSIONS[:-1]}")
    ):
        what = f"needs --author, and one folder …/{SUBMISSIONS}"
        raise InvalidInputError([Problem("--change", what, "give both")])
    (folder,) = submissions
    changes = read_change(folder.absolute().parents[1], base)
    faults = check_change(changes, cards=cards, author=author)
    files = [folder / name for name in entries(changes)]
    # Withdrawn as a whole is fine; evidence withdrawn from under a submission, or left behind, is a stray.
    here = [path for path in files if path.is_file()]
    return here, [[f"wrong: {fault}" for fault in faults], _stray_lines(submissions)]


def _write_markdown(path: Path, blocks: Sequence[Sequence[str]]) -> None:
    from medrobust_bench.reports.grid import escape_markdown

    pages = (
        "\n".join(f"- {escape_markdown(printable(line.strip()))}" for line in lines)
        for lines in blocks
        if lines
    )
    path.write_text("\n\n".join(pages) + "\n", encoding="utf-8")

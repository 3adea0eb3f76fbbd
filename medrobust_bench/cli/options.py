"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.cards import Card

OWN_CARDS = Path("model_cards")
"""Where cards are looked for and drafted, unless `--cards` says otherwise."""


def cards_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--cards`, a folder; see `registry`."""
    return click.option(
        "--cards",
        type=click.Path(path_type=Path, file_okay=False),
        show_default=str(OWN_CARDS),
        help="Folder of model cards, beside the shipped ones.",
    )(command)


def registry(cards: Path | None) -> dict[str, Card]:
    """The shipped cards, and before them those of the folder given with `--cards`.

    Raises:
        InvalidInputError: the folder given is missing, or anything wrong with a card.
    """
    from medrobust_bench.models.cards import read_cards

    own = cards or (OWN_CARDS if OWN_CARDS.is_dir() else None)
    return {**read_cards(), **({} if own is None else read_cards(own))}


def images_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--images`, a folder; see `open_data`."""
    return click.option(
        "--images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of the data set's images, or the one that holds it, where it is not beside the questions.",
    )(command)


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--data NAME=PATH`, repeatable; see `places`."""
    return click.option(
        "--data",
        "data",
        multiple=True,
        metavar="NAME=PATH",
        help="Where a data set is; phantoms need no place. Repeatable.",
    )(command)


def places(data: tuple[str, ...]) -> dict[str, str]:
    """What was given with `--data`, by name of the data set.

    Raises:
        InvalidInputError: something that is not NAME=PATH.
    """
    found = {}
    problems = []
    for text in data:
        name, equals, path = text.partition("=")
        if name and equals and path:
            found[name] = path
        else:
            problems.append(Problem("--data", f"{text!r} names no place", "write NAME=PATH"))
    if problems:
        raise InvalidInputError(problems)
    return found

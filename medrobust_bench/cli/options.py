"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.data.reopen import Place
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
    """`--data NAME=PATH` and `--images NAME=DIR`, repeatable; see `places`."""
    images = click.option(
        "--images",
        multiple=True,
        metavar="NAME=DIR",
        help="Folder of a data set's images, where it is not beside the questions. Repeatable.",
    )
    data = click.option(
        "--data",
        "data",
        multiple=True,
        metavar="NAME=PATH",
        help="Where a data set is; phantoms need no place. As for `run`, NAME may be a data card's id, alone for the "
        "hub or its cache. Repeatable.",
    )
    return data(images(command))


def places(data: tuple[str, ...], images: tuple[str, ...] = ()) -> dict[str, Place]:
    """What was given with `--data` and `--images`, by name of the data set.

    Raises:
        InvalidInputError: something that is not NAME=PATH.
    """
    from medrobust_bench.data.cards import shipped_cards
    from medrobust_bench.data.omnimedvqa import OMNIMEDVQA
    from medrobust_bench.data.reopen import Place

    found: dict[str, Place] = {}
    problems = []
    for text in data:
        name, _, path = text.partition("=")
        if name in shipped_cards() and Path(path).is_dir() and not OMNIMEDVQA.recognises(path):
            found[name] = Place(text)  # what `run --data` takes: a card, and a local copy of its files
        elif name and path:
            found[name] = Place(path)
        elif text in shipped_cards():
            found[text] = Place(text)
        else:
            problems.append(Problem("--data", f"{text!r} names no place", "write NAME=PATH"))
    for text in images:
        name, _, folder = text.partition("=")
        if name in found and folder:
            found[name] = Place(found[name].source, Path(folder))
        else:
            what = f"{text!r} names no folder of a data set given with --data"
            problems.append(Problem("--images", what, "write NAME=DIR, beside --data NAME=PATH"))
    if problems:
        raise InvalidInputError(problems)
    return found

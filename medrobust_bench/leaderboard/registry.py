"""The model cards that submissions are held against: nobody's is changed by another's submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.models.cards import card_folder, read_card, read_cards
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.cards import Card


def read_registry(folder: Path | None) -> tuple[dict[str, Card], list[Problem]]:
    """The program's own cards, and those of a folder that have ids of their own.

    A card of the folder that cannot be read, or that would change one of the program's, is left out: it concerns the
    submissions of its own model only.

    Args:
        folder: beside the program's; None for those alone.

    Returns:
        The cards by id, and what is wrong with those left out.

    Raises:
        InvalidInputError: the folder is missing.
    """
    cards = read_cards()
    if folder is None or folder.resolve() == card_folder().resolve():
        return cards, []
    if not folder.is_dir():
        what = "is no folder of model cards"
        raise InvalidInputError([Problem(str(folder), what, "give a folder of model cards")])
    problems: list[Problem] = []
    own: dict[str, Card] = {}
    for path in sorted(folder.glob("*.md")):
        try:
            card = read_card(path)
        except InvalidInputError as error:
            problems += error.problems
            continue
        known = cards.get(card.id)
        if known is not None and _written(known) != _written(card):
            what = f"differs from the card {card.id} of this program, which is the one that counts"
            problems.append(Problem(str(path), what, "give another model an id of its own"))
        elif card.id in own:
            what = f"id {card.id!r} is also that of {own[card.id].path}"
            problems.append(Problem(str(path), what, "give each card its own id"))
        elif known is None:
            own[card.id] = card
    return dict(sorted({**cards, **own}.items())), problems


def shipped_with_the_program(card: Card) -> bool:
    """Whether a card is one of the program's own, that a submission cannot have written."""
    return card.path is not None and card.path.parent.resolve() == card_folder().resolve()


def _written(card: Card) -> dict[str, object]:
    return card.model_dump(exclude={"path"})

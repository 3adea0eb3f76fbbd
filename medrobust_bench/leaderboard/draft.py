"""A draft of the card that a submission needs, for its author to complete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

import yaml

from medrobust_bench.models.cards import ENDPOINT, Dtype
from medrobust_bench.models.registry import SERVED
from medrobust_bench.records.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import ModelRecord

UNFILLED = "TO BE FILLED IN"
NO_SOURCE = "OWNER/NAME"
NO_SUBMITTER = "GITHUB-ACCOUNT"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w./-]+)?")


def card_id(model: str) -> str:
    """A card's id made from what results call a model: lower case, letters, digits, dots, dashes, underscores."""
    name = model.removeprefix(SERVED)
    made = re.sub(r"[^a-z0-9._-]+", "-", name.lower().rpartition("/")[2]).strip("-._") or "model"
    return (
        made if name == model else f"openai-{made}"
    )  # a server's model is not the one whose weights have that name


def name_on_board(model: str, cards: Mapping[str, Card]) -> str:
    """The id under which a model is submitted: that of its card, or of the card that is going to be drafted.

    Args:
        model: what results call it: a card's id, a hub id or a folder's name.
        cards: the model registry.
    """
    if model in cards:
        return model
    return next((card.id for card in cards.values() if card.source == model), card_id(model))


def write_draft(model: ModelRecord, folder: Path) -> Path | None:
    """Write `<id>.md` unless it is there already; returns it where it was written."""
    path = folder / f"{card_id(model.id)}.md"
    if path.exists():
        return None
    known = model.dtype in get_args(Dtype)
    server = model.server if model.weights_sha256 is None else None
    place: dict[str, object] = {"source": model.id if _HUB_ID.fullmatch(model.id) else NO_SOURCE}
    if server is not None:
        place = {"adapter": ENDPOINT, "source": server.model, "endpoint": {"base_url": server.base_url}}
    fields = {
        "id": card_id(model.id),
        "title": model.id,
        **place,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256 if known else None,
        "identity": None if model.identity is None else model.identity.model_dump(),
        "dtype": model.dtype if known else "auto",
        "answer_mode": model.answer_mode,
        "submitter": NO_SUBMITTER,
        "licence": UNFILLED,
        "training_data": {"description": UNFILLED, "trained_on_omnimedvqa": "unknown"},
        "evaluated": True,
    }
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    replace_file(path, f"---\n{front}---\n\n{UNFILLED}: what the model is.\n".encode())
    return path


def unfilled(card: Card) -> list[str]:
    """What of a draft its author has not completed yet."""
    written = {
        "source": card.source.replace(NO_SOURCE, UNFILLED),
        "submitter": UNFILLED if card.submitter == NO_SUBMITTER else "",
        "licence": card.licence,
        "training_data.description": card.training_data.description,
        "the text": card.text,
    }
    return [name for name, text in written.items() if UNFILLED in text]

"""The card of a model as a run wants it; no model is loaded, and nothing that takes seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import resolve

if TYPE_CHECKING:
    from medrobust_bench.models.cards import Card
    from medrobust_bench.specs.settings import RunSettings


def card_of(name: str, settings: RunSettings) -> Card:
    """The card of a model of a run, with what its settings put in the place of the card's.

    Raises:
        InvalidInputError: see `resolve`.
    """
    return resolve(
        name,
        answer_mode=None if settings.answer_mode is None else AnswerMode(settings.answer_mode),
        revision=settings.revision,
        max_new_tokens=settings.max_new_tokens,
        endpoint=settings.endpoint,
        answers_from=settings.answers_from,
    )

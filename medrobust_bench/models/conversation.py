"""The turns before a model's answer, as chat templates and chat servers take them."""

from __future__ import annotations

from typing import Any


def conversation(words: str, *, system: str | None = None, image: bool = True) -> list[dict[str, Any]]:
    """An optional system turn, and the user's turn with the image in front of the words.

    The content of every turn is a list of parts: templates that know images expect it, and those of Gemma and Llava
    take no plain text for the system turn.

    Args:
        words: question, options and instruction.
        system: the system turn of the model's card.
        image: whether an image goes before the words.
    """
    turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    picture = [{"type": "image"}] if image else []
    return [*turns, {"role": "user", "content": [*picture, {"type": "text", "text": words}]}]

"""JSON of strangers, of which every reader must make the same."""

from __future__ import annotations

import json


def read_strictly(content: bytes) -> object:
    """The document, without keys given twice and without numbers that are none.

    Raises:
        ValueError: saying what is wrong.
    """
    try:
        return json.loads(content, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is given twice")
    return made


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")

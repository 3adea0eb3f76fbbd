"""Cards: Markdown files whose YAML front matter is for the program, and whose body is for people.

Everything wrong with a card is reported together, each with file, line and remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from medrobust_bench.problems import Problem
from medrobust_bench.yaml_settings import Model, read_settings

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_CARD = 128_000
"""Bytes of a card."""

_FENCE = "---"


@dataclass(frozen=True, slots=True)
class Document(Generic[Model]):
    """A card that can be used.

    Attributes:
        front: its front matter.
        body: the Markdown below it.
    """

    front: Model
    body: str


def read_document(
    path: Path, model: type[Model], *, example: str
) -> tuple[Document[Model] | None, list[Problem]]:
    """Read a card.

    Args:
        path: the Markdown file.
        model: what its front matter must hold.
        example: where a reader finds one to start from, such as "model_cards/".

    Returns:
        The card, or None with everything that is wrong with it.
    """
    where = str(path)
    try:
        if path.stat().st_size > LARGEST_CARD:
            what = f"has {path.stat().st_size} bytes, at most {LARGEST_CARD} are allowed"
            return None, [Problem(where, what, "say it more briefly")]
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(where, f"cannot be read: {error}", "give a readable UTF-8 Markdown file")]
    parts = _split(content)
    if parts is None:
        what = "has no front matter: YAML between two lines of ---, starting on line 1"
        return None, [Problem(where, what, f"start from a card in {example}", row=1)]
    front, body = parts
    entry, problems = read_settings(where, front, model, name="front matter", first_row=2)
    if not body.strip():
        problems.append(Problem(where, "has no text below the front matter", "say what it is about"))
    return (None, problems) if entry is None or problems else (Document(entry, body.strip()), [])


def _split(content: str) -> tuple[str, str] | None:
    lines = content.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return None
    for index, line in enumerate(lines[1:], start=1):
        if line.rstrip() == _FENCE:
            return "\n".join(lines[1:index]) + "\n", "\n".join(lines[index + 1 :])
    return None

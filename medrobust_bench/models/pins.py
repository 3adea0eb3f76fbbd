"""Writing a model's digests into its card."""

from __future__ import annotations

from itertools import dropwhile
from typing import TYPE_CHECKING

from medrobust_bench.records.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.records import Identity

_KEY = "identity:"
_AFTER = "weights_sha256:"
_FENCE = "---"


def pin_lines(identity: Identity) -> list[str]:
    """The lines of a card's front matter."""
    return [_KEY, *(f"  {name}: {digest}" for name, digest in identity.model_dump().items())]


def write_pins(path: Path, identity: Identity) -> None:
    """Put the digests into the front matter of a card, in place of those that it has; nothing else changes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if _KEY in lines:
        start = lines.index(_KEY)
        rest = list(dropwhile(lambda line: line.startswith((" ", "\t")), lines[start + 1 :]))
        lines = lines[:start] + rest
    end = lines.index(_FENCE, 1)
    place = next((row + 1 for row, line in enumerate(lines[:end]) if line.startswith(_AFTER)), end)
    lines[place:place] = pin_lines(identity)
    replace_file(path, ("\n".join(lines) + "\n").encode())

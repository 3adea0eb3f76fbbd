"""What is wrong with an input: found before any expensive work and reported all together."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_STEERING = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories: control, format (which turn text round or hide it), private use, surrogates, separators."""


def plain(text: str) -> str:
    """A text without characters that steer what shows it, line breaks and tabs aside: for pages and tables."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter
        if letter in "\n\t" or unicodedata.category(letter) not in _STEERING
        else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def printable(text: str) -> str:
    """A text in one line and without control characters, for terminals, logs and CI: strangers' texts stand in it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def near(name: str, known: Iterable[str]) -> str:
    """The beginning of a remedy, "did you mean …? ", where known names resemble a wrong one; else nothing."""
    spelt = {one.casefold(): one for one in known}
    alike = difflib.get_close_matches(name.casefold(), spelt, n=3)
    return f"did you mean {' or '.join(spelt[one] for one in alike)}? " if alike else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        where: the file, setting or flag at fault.
        row: one-based position inside `where` (a JSON array element, a line), if there is one.
        what: what is wrong, in one sentence.
        remedy: what the reader can do about it.
    """

    where: str
    what: str
    remedy: str
    row: int | None = None

    def __str__(self) -> str:
        place = self.where if self.row is None else f"{self.where}, row {self.row}"
        return printable(f"{place}: {self.what} → {self.remedy}")


class InvalidInputError(ValueError):
    """Input that cannot be used; carries every problem found, not just the first (exit code 2)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[InvalidInputError], tuple[tuple[Problem, ...]]]:
        """It crosses from one process to another with its problems."""
        return type(self), (self.problems,)

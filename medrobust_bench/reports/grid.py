"""A table of text, for Markdown and for a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table
from tabulate import tabulate

from medrobust_bench.problems import plain, printable

if TYPE_CHECKING:
    from medrobust_bench.records import Estimate

MISSING = "–"

_MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")


@dataclass(frozen=True, slots=True)
class Grid:
    """Plain text in rows and columns.

    Attributes:
        title: stands above the table.
        header: column names.
        rows: cells, as many per row as there are column names.
        names: how many columns on the left hold names and are aligned left; the others hold numbers.
        raw: columns (by index) whose cells are Markdown already.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int
    raw: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """A pipe table without the title, every cell that is not Markdown already escaped."""
        rows = [
            [cell if column in self.raw else escape_markdown(cell) for column, cell in enumerate(row)]
            for row in self.rows
        ]
        return tabulate(
            rows,
            headers=[escape_markdown(name) for name in self.header],
            tablefmt="pipe",
            colalign=["left" if column < self.names else "right" for column in range(len(self.header))],
            disable_numparse=True,
        )

    def transposed(self) -> Grid:
        """Columns as rows: the first column becomes the header, the header the first column."""
        header, *rows = zip(self.header, *self.rows, strict=True)
        return Grid(self.title, header, tuple(rows), names=1)

    def rich(self) -> Table:
        """A table for `rich.console.Console.print`."""
        table = Table(title=_shown(self.title), title_justify="left", box=box.SIMPLE_HEAD)
        for column, name in enumerate(self.header):
            table.add_column(
                _shown(name), justify="left" if column < self.names else "right", overflow="fold"
            )
        for row in self.rows:
            table.add_row(*map(_shown, row))
        return table


def _shown(text: str) -> str:
    return escape(plain(text))


def escape_markdown(text: str) -> str:
    """Text that renders as itself wherever Markdown stands, a table cell or a link's label included."""
    flat = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", flat)


def percent(value: float) -> str:
    """A share as a percentage with one decimal, without the sign."""
    return f"{100 * value:.1f}"


def with_interval(estimate: Estimate) -> str:
    """An accuracy in per cent with its interval: `84.4 (73.6–91.3)`."""
    return f"{percent(estimate.value)} ({percent(estimate.low)}–{percent(estimate.high)})"


def points(value: float) -> str:
    """A difference in percentage points, always with its sign: +1.5, −3.0, 0.0."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text

"""Texts of strangers, made harmless wherever they are shown: the one place where that is done.

Markdown tables and HTML templates escape for themselves (`reports.grid.escape_markdown`, Jinja's autoescape); what they
cannot know stands here: spreadsheets that run cells, schemes of links, characters that steer a terminal or turn text
round.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")
_STEERING = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories: control, format (which turn text round or hide it), private use, surrogates, separators."""


def plain(text: str) -> str:
    """A text without characters that steer, line breaks aside."""
    return "".join(
        letter
        if letter == "\n" or unicodedata.category(letter) not in _STEERING
        else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def cell(text: str) -> str:
    """A text as a cell that no spreadsheet runs: quoted by an apostrophe where it begins like a formula."""
    flat = " ".join(plain(text).split())
    return (
        f"'{flat}" if text.startswith(_RUN_BY_SPREADSHEETS) or flat.startswith(_RUN_BY_SPREADSHEETS) else flat
    )


def is_link(url: str) -> bool:
    """Whether a link may stand on a page: https and nothing else."""
    return url.startswith("https://") and url == plain(url) and not set(url) & set(" \"'<>\\^`{|}")


class _Markdown(MarkdownIt):
    """CommonMark with tables, without HTML, images, and links but https."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False})
        self.enable("table").disable("image")

    def validateLink(self, url: str) -> bool:  # noqa: N802, the library's name
        """See `is_link`."""
        return is_link(url)


_MARKDOWN: Final = _Markdown()


def html(markdown: str) -> Markup:
    """A submitter's Markdown as HTML, headings of one size; HTML, images and other links in it stay text."""
    tokens = _MARKDOWN.parse(plain(markdown))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))

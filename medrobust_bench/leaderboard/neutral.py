"""Texts of strangers, made harmless where tables and pages of a leaderboard show them.

Markdown tables, terminals and HTML templates escape for themselves and let no character through that steers
(`reports.grid`, `reports.pages`); what they cannot know stands here: spreadsheets that run cells, schemes of links,
Markdown of strangers.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt
from markupsafe import Markup

from medrobust_bench.problems import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@")


def cell(text: str) -> str:
    """A text as a cell that no spreadsheet runs: quoted by an apostrophe where it begins like a formula."""
    flat = " ".join(plain(text).split())
    seen = unicodedata.normalize("NFKC", flat)  # a full-width = is one to some of them
    return f"'{flat}" if text.startswith(("\t", "\r")) or seen.startswith(_RUN_BY_SPREADSHEETS) else flat


def is_link(url: str) -> bool:
    """Whether a link may stand on a page: https and nothing else."""
    return url.startswith("https://") and url == plain(url) and not set(url) & set(" \"'<>\\^`{|}")


_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def html(markdown: str) -> Markup:
    """A submitter's Markdown as HTML, headings of one size; HTML and images stay text, of other links their words."""
    tokens = _MARKDOWN.parse(plain(markdown))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
        token.children = _without_links(token.children or [])
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def _without_links(tokens: Sequence[Token]) -> list[Token]:
    """Without the links that may not stand on a page; their words stay."""
    kept: list[Token] = []
    linked: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            linked.append(is_link(str(token.attrGet("href") or "")))
        if token.type not in ("link_open", "link_close") or linked[-1]:
            kept.append(token)
        if token.type == "link_close":
            linked.pop()
    return kept

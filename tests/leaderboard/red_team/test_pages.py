"""What a stranger's text must not do where it is shown, and who must not be shown first."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from markupsafe import Markup
from rich.console import Console

from medrobust_bench.leaderboard.build import render
from medrobust_bench.leaderboard.neutral import cell, html, is_link, plain
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.reports.grid import Grid
from medrobust_bench.reports.pages import environment
from tests.leaderboard.forgery import (
    Make,
    reasons,
)

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.cards import Card


@pytest.mark.parametrize(
    "text", ["=cmd|'/c calc'!A0", "+1+1", "-2", "@SUM(1)", "\t=1", "  =1", "\uff1d1", "\uff20x"]
)
def test_no_cell_is_run_by_a_spreadsheet(text: str) -> None:
    assert cell(text).startswith("'")
    assert "\n" not in cell("a\nb")
    assert cell("safemed-r1-tiny") == "safemed-r1-tiny"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://example.org",
        "//example.org",
        "data:text/html,x",
        "mailto:a@b",
        "file:///etc",
        "vbscript:x",
    ],
)
def test_no_link_but_https(url: str) -> None:
    assert not is_link(url)
    for text in (f"[x]({url})", f"<{url}>", f"[x][1]\n\n[1]: {url}"):
        assert "<a" not in html(text)
    assert "<p>the x of it</p>" in html("the [x](../docs/x.md) of it"), "words stay"
    assert is_link("https://example.org/a?b=c")
    assert '<a href="https://example.org">' in html("[x](https://example.org)")


def test_texts_that_steer_are_shown_harmlessly() -> None:
    assert plain("a\x1b[31mb\u202ec\u200bd\ne") == "a\ufffd[31mb\ufffdc\ufffdd\ne"
    shown = html("<img src=x onerror=alert(1)> ![x](https://example.org/x.png) \u202eevil")
    assert "<img" not in shown
    assert "\u202e" not in shown


def test_no_page_shows_a_character_that_steers() -> None:
    """Whatever stands in a page: texts of data sets, models, cards and journals go through one gate."""
    page = environment().from_string("<p>{{ text }}</p>{{ block }}")
    shown = page.render(text="a\x1b[2Jb\u202ec\u2066<b>", block=Markup("<i>d</i>"))
    assert shown == "<p>a\ufffd[2Jb\ufffdc\ufffd&lt;b&gt;</p><i>d</i>"
    grid = Grid("\x1b]0;owned\x07", ("a\u202e",), (("b\x1b[31m",),), names=1)
    written = io.StringIO()
    Console(width=40, file=written, force_terminal=False).print(grid.rich())
    for told in (written.getvalue(), grid.markdown()):
        assert not {"\x1b", "\u202e", "\x07"} & set(told)


def test_bare_results_have_no_place_among_submissions(forgery: Make, cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    bare = made.result | {"model": made.result["model"] | {"id": "our-model-7b"}}
    (made.folder / "more.json").write_text(json.dumps(bare))
    assert "its folder holds what no manifest names: 'more.json'" in reasons(made.save(), cards)
    with pytest.raises(InvalidInputError, match="is a bare result in a folder of submissions"):
        read_results(made.path.parents[2], cards=cards)


def test_names_of_results_are_looked_at_before_they_are_shown(forgery: Make, tmp_path: Path) -> None:
    bare = forgery("pgd-linf").result
    bare["model"]["id"] = "=cmd|'/c calc'!A0"
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/more.json").write_text(json.dumps(bare))
    with pytest.raises(InvalidInputError, match="holds characters that names may not hold"):
        read_results(tmp_path / "alone", cards={})


def test_nobody_without_a_rank_is_first(honest: Path, cards: dict[str, Card]) -> None:
    pages = render(read_results(honest, cards=cards), links={}, cards=cards)
    index = [line for line in pages["README.md"].splitlines() if "pgd-linf" in line]
    assert [part.strip() for part in index[0].split("|")][3:5] == ["–", "–"]

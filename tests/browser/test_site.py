"""The leaderboard's site as people use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.site.pages import write_site
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.runs.run import load_run
from tests.browser.pages import CONTRAST, opened

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def site(schooled_run: Path, weakened_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two toys under two attacks and a certification."""
    root = tmp_path_factory.mktemp("site")
    for run in (schooled_run, weakened_run):
        submit(load_run(run), root / "submissions")
    return write_site(read_results(root / "submissions", cards={}), root / "site", cards={})[0]


def test_the_index_can_be_read_on_every_screen(
    browser: Browser, site: Path, screen: dict[str, int], scheme: str
) -> None:
    with opened(browser, site, screen=screen, scheme=scheme) as page:
        assert page.evaluate(CONTRAST) == []
        assert page.locator("#board tbody tr").count() == 6


def test_columns_sort_by_keyboard_and_filters_hide_rows(browser: Browser, site: Path) -> None:
    with opened(browser, site, screen={"width": 1280, "height": 900}) as page:
        heading = page.locator("#board thead th", has_text="Accuracy")
        heading.locator("button").focus()
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "descending"
        cells = page.locator("#board tbody tr td:nth-child(4)")
        values = [float(cells.nth(row).get_attribute("data-sort") or "nan") for row in range(6)]
        assert values == sorted(values, reverse=True)
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        page.get_by_label("Model").fill("WEAK")
        page.get_by_label("Threat").select_option("noise:draws=2")
        assert page.locator("#shown").inner_text() == "1 of 6 results"
        assert page.locator("#board tbody tr:visible").inner_text().split("\t")[1] == "weakened"


def test_a_models_page_is_a_click_away(browser: Browser, site: Path, scheme: str) -> None:
    with opened(browser, site, screen={"width": 390, "height": 844}, scheme=scheme) as page:
        page.get_by_role("link", name="weakened").first.click()
        assert page.locator("h1").inner_text() == "weakened"
        assert page.evaluate(CONTRAST) == []
        assert page.locator("article.card").count() == 6
        page.get_by_role("link", name="All models").click()
        assert page.locator("h1").inner_text() == "MedRobust leaderboard"

"""The report as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import CONTRAST, opened

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


def test_it_can_be_read_on_every_screen(
    browser: Browser, report: Path, screen: dict[str, int], scheme: str
) -> None:
    with opened(browser, report, screen=screen, scheme=scheme) as page:
        assert page.evaluate(CONTRAST) == []
        assert page.locator("h1").inner_text() == "weakened on phantoms"
        assert page.locator("article.card").count() == 12
        shown = page.locator("#figure-accuracy img").evaluate("image => image.currentSrc")
        source = page.locator("#figure-accuracy source").get_attribute("srcset")
        assert (shown == source) is (scheme == "dark")


def test_the_keyboard_reaches_content_and_wide_tables(browser: Browser, report: Path) -> None:
    with opened(browser, report, screen={"width": 390, "height": 844}) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        region = page.locator("[role=region]", has=page.locator("table.heat")).first
        region.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(500)  # the page forbids scripts, hence waiting for a condition as well
        assert region.evaluate("region => region.scrollLeft") > 0

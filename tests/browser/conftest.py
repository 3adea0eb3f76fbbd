"""A real headless browser, where there is one."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; tests are skipped where it is missing, unless $MEDROBUST_REQUIRE_BROWSER is set."""
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        message = "no Chromium: apt-get install chromium, or set $CHROMIUM"
        if os.environ.get("MEDROBUST_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root has no user namespace to build the sandbox from; the pages are our own.
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def screen(request: pytest.FixtureRequest) -> dict[str, int]:
    """Width and height of a window."""
    width, height = request.param
    return {"width": width, "height": height}


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Preferred colours."""
    return str(request.param)


@pytest.fixture(scope="session")
def report(weakened_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a toy's run."""
    from medrobust_bench.data.reopen import reopen
    from medrobust_bench.reports.run_page.page import write_report
    from medrobust_bench.runs.run import load_run

    run = load_run(weakened_run)
    page = tmp_path_factory.mktemp("report") / "index.html"
    return write_report(run, page, dataset=reopen(run.record.plan), limit=12)[0]

"""Makes the documentation's screenshots of the leaderboard, and of a run's report: `python docs/screenshots.py [RUN]`.

The leaderboard is that of the submissions in this repository. RUN is a finished run; without one, the pictures of a
report stay as they are. Needs Chromium (Debian: `apt-get install chromium`; elsewhere $CHROMIUM) and playwright.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from medrobust_bench.data.reopen import reopen
from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.registry import read_registry
from medrobust_bench.leaderboard.site.pages import write_site
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.reports.run_page.page import write_report
from medrobust_bench.runs.run import load_run

ROOT = Path(__file__).parents[1]
SHOWN = "safemed-r1-tiny"
"""The model whose page is shown."""

DESKTOP, PHONE = (1280, 900), (390, 844)

SHOTS = (
    ("leaderboard", "site/index.html", DESKTOP, "light", None),
    ("leaderboard-phone", "site/index.html", PHONE, "dark", None),
    ("leaderboard-model", "model", (1280, 1500), "dark", None),
    ("report", "report/index.html", DESKTOP, "light", None),
    ("report-phone", "report/index.html", PHONE, "dark", None),
    ("report-gallery", "report/index.html", DESKTOP, "light", "article.card"),
)
"""Name of the picture, page, window, colours, and the element that is shown; None for what the window shows."""


def main() -> None:
    """Read the command line and make the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the pictures")
    parser.add_argument(
        "--whole", action="store_true", help="whole pages in every window and colour, to look at"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pages = build(arguments.run, Path(folder))
        shots = whole_pages(pages) if arguments.whole else SHOTS
        for path in photograph(pages, arguments.out, shots, whole=arguments.whole):
            print(path)


def build(run: Path | None, root: Path) -> dict[str, Path]:
    """Build the site, and the run's report; returns the pages by name."""
    cards, _problems = read_registry(ROOT / "model_cards")
    submissions = read_results(ROOT / "leaderboards" / "submissions", cards=cards)
    index, *_others = write_site(submissions, root / "site", cards=cards)
    pages = {"site/index.html": index, "model": index.parent / "models" / f"{slug(SHOWN)}.html"}
    if run is not None:
        finished = load_run(run)
        dataset = reopen(finished.record.plan)
        pages["report/index.html"], *_figures = write_report(
            finished, root / "report" / "index.html", dataset=dataset, limit=6
        )
    return pages


def whole_pages(pages: dict[str, Path]) -> tuple[tuple[str, str, tuple[int, int], str, None], ...]:
    """Every page in every window and colour scheme, in the form of `SHOTS`."""
    return tuple(
        (f"{slug(name)}-{width[0]}-{scheme}", name, width, scheme, None)
        for name in pages
        for width in (DESKTOP, PHONE)
        for scheme in ("light", "dark")
    )


def photograph(
    pages: dict[str, Path],
    out: Path,
    shots: tuple[tuple[str, str, tuple[int, int], str, str | None], ...],
    *,
    whole: bool,
) -> list[Path]:
    """Open the pages in Chromium and save the pictures; returns their files."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for name, page_name, (width, height), scheme, selector in shots:
            if page_name not in pages:
                continue
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(pages[page_name].as_uri())
            path = out / f"{name}.png"
            if selector is None:
                page.screenshot(path=path, full_page=whole)
            else:
                page.locator(selector).first.screenshot(path=path)
            page.close()
            written.append(path)
        browser.close()
    return written


if __name__ == "__main__":
    main()

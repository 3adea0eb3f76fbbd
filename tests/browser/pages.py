"""Opening a page in the browser and looking for faults that every page must be free of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(v => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b; };
  const paper = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('h1,h2,h3,p,th,td,dt,dd,li,a,figcaption,summary,button,label')) {
    if (!e.innerText || !e.offsetWidth || getComputedStyle(e).opacity < 1) continue;
    const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(paper(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.tagName, e.innerText.slice(0, 40), ratio.toFixed(2)]);
  }
  return bad;
}"""
"""Texts whose contrast falls below WCAG 2.1 AA."""


@contextmanager
def opened(browser: Browser, path: Path, *, screen: dict[str, int], scheme: str = "light") -> Iterator[Page]:
    """Open a file; fails on any console message, script error, request beyond the file, or sideways scrolling."""
    settings: dict[str, Any] = {"viewport": screen, "color_scheme": scheme, "reduced_motion": "reduce"}
    context = browser.new_context(**settings)
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url),
    )
    page.goto(path.as_uri())
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert not faults
    context.close()

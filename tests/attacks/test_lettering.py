"""Text is drawn the same on every machine, and looks like what a font engine draws."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medrobust_bench.attacks.lettering import _font, _glyph, text_cover, text_width


def test_same_coverage_as_ever() -> None:
    cover = text_cover("The answer is C (µ, é).", 17.5)
    assert cover.shape == (21, 197)
    quantised = np.floor(cover * 255 + 0.5003).astype(np.uint8)
    assert hashlib.sha256(quantised.tobytes()).hexdigest()[:16] == "f2469da9c64fbceb"


@pytest.mark.parametrize("size", [9, 14, 40])
def test_like_a_font_engine(size: int) -> None:
    text = "Answer: B8gQ"
    file = resources.files("matplotlib").joinpath("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
    with resources.as_file(file) as path:
        font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    cover = text_cover(text, size)
    picture = Image.new("L", (cover.shape[1] + 8, cover.shape[0]))
    ImageDraw.Draw(picture).text((0, 0.93 * size), text, fill=255, font=font, anchor="ls")
    drawn = np.asarray(picture, dtype=float) / 255
    assert cover.sum() == pytest.approx(drawn.sum(), rel=0.12)
    columns = np.flatnonzero(drawn.any(axis=0))
    assert columns[-1] == pytest.approx(np.flatnonzero(cover.any(axis=0))[-1], abs=0.6 * len(text) + 1)


def test_holes_stay_open_and_ink_is_bounded() -> None:
    cover = text_cover("O", 100)
    assert cover.min() == 0
    assert cover.max() == 1
    middle = cover[cover.shape[0] // 2]
    assert middle[len(middle) // 2] == 0


def test_size_and_width() -> None:
    assert text_width("abc", 20) == pytest.approx(2 * text_width("abc", 10))
    assert text_cover(" ", 12).sum() == 0
    assert text_cover("", 12).shape[1] == 1
    assert text_cover("\u4e00", 12).sum() > 0  # a letter that the font lacks is a box


def test_threads_may_ask_at_once() -> None:
    _font.cache_clear()
    _glyph.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        covers = list(pool.map(lambda _: text_cover("Radiology", 12), range(16)))
    assert all(np.array_equal(cover, covers[0]) for cover in covers)

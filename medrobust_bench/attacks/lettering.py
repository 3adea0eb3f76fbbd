"""Text as coverage of pixels, equal on every machine.

The outlines are those of DejaVu Sans as matplotlib ships it; they are filled here, since what a font engine makes of
them changes with its version and its hinting.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]
Contour = tuple[Point, ...]

_ROWS = 5
"""Scan lines to a pixel; along them coverage is exact."""
_PIECES = 6
"""Straight pieces to a curve of an outline."""

_reading = Lock()
"""The font's tables are unpacked when they are first asked for, which two threads must not do at once."""


def text_width(text: str, size: float) -> float:
    """Width of a line of text in pixels; `size` is that of an em in pixels."""
    return sum(_glyph(letter)[1] for letter in text) * size / _em()


def text_cover(text: str, size: float) -> NDArray[np.float64]:
    """Coverage [H, W] between 0 and 1 of one line of text, from its ascenders to its descenders.

    Args:
        text: letters that the font has; others become its box for a missing letter.
        size: of an em, in pixels.
    """
    scale = size / _em()
    ascent, descent = 0.93 * size, 0.24 * size  # of every letter of Latin, with accents
    height, width = int(np.ceil(ascent + descent)), max(1, int(np.ceil(text_width(text, size))))
    edges = []
    pen = 0.0
    for letter in text:
        contours, advance = _glyph(letter)
        for contour in contours:
            points = np.array(contour) * scale
            points = np.stack((points[:, 0] + pen, ascent - points[:, 1]), axis=1)
            edges.append(np.concatenate((points, np.roll(points, -1, axis=0)), axis=1))
        pen += advance * scale
    cover = np.zeros((height, width))
    if edges:
        _fill(cover, np.concatenate(edges))
    return cover


def _fill(cover: NDArray[np.float64], edges: NDArray[np.float64]) -> None:
    """Fill outlines by the non-zero rule; edges are rows (x0, y0, x1, y1)."""
    height, width = cover.shape
    x0, y0, x1, y1 = edges.T
    y = (np.arange(height * _ROWS)[:, None] + 0.5) / _ROWS
    line, edge = np.nonzero((y0 <= y) != (y1 <= y))
    along = (y[line, 0] - y0[edge]) / (y1[edge] - y0[edge])
    x = x0[edge] + along * (x1[edge] - x0[edge])
    order = np.lexsort((x, line))
    line, x = line[order], x[order]
    # Outlines are closed, so that every line ends outside, where the next begins.
    inside = np.flatnonzero(np.cumsum(np.where(y1 > y0, 1, -1)[edge][order]))
    # A span is what lies left of its end, less what lies left of its start: whole pixels, and a part of one.
    whole, part = np.zeros((height, width + 1)), np.zeros((height, width + 1))
    for ends, sign in ((inside + 1, 1.0), (inside, -1.0)):
        place = np.clip(x[ends], 0, width)
        column = place.astype(np.intp)
        np.add.at(whole, (line[ends] // _ROWS, column), sign)
        np.add.at(part, (line[ends] // _ROWS, column), sign * (place - column))
    left_of_ends = np.cumsum(whole[:, ::-1], axis=1)[:, ::-1][:, 1:]
    np.clip((left_of_ends + part[:, :-1]) / _ROWS, 0, 1, out=cover)


class _Outline(BasePen):  # type: ignore[misc]
    """Collects the contours of a glyph as polygons, in units of the font."""

    def __init__(self, glyphs: object) -> None:
        super().__init__(glyphs)
        self.contours: list[list[Point]] = []

    def _moveTo(self, point: Point) -> None:  # noqa: N802
        self.contours.append([point])

    def _lineTo(self, point: Point) -> None:  # noqa: N802
        self.contours[-1].append(point)

    def _qCurveToOne(self, control: Point, end: Point) -> None:  # noqa: N802
        start = self.contours[-1][-1]
        for index in range(1, _PIECES + 1):
            t = index / _PIECES
            a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
            x, y = (a * p + b * q + c * r for p, q, r in zip(start, control, end, strict=True))
            self.contours[-1].append((x, y))


@cache
def _font() -> TTFont:
    file = resources.files("matplotlib").joinpath("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
    with resources.as_file(file) as path:
        return TTFont(path, lazy=False)


@cache
def _em() -> int:
    with _reading:
        return int(_font()["head"].unitsPerEm)


@cache
def _glyph(letter: str) -> tuple[tuple[Contour, ...], int]:
    """Contours of a letter and its advance, in units of the font."""
    with _reading:
        font = _font()
        name = font.getBestCmap().get(ord(letter), ".notdef")
        glyphs = font.getGlyphSet()
        pen = _Outline(glyphs)
        glyphs[name].draw(pen)
        advance = int(font["hmtx"][name][0])
    contours = tuple(tuple(contour) for contour in pen.contours if len(contour) > 2)
    return contours, advance

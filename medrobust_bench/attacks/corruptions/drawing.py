"""Soft-edged strokes and discs for what lies in front of the lens: hair, bubbles, rulers, dust.

A drawing is a coverage [H, W] between 0 and 1. Lengths are in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.corruptions.fields import uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Point = tuple[float, float]
"""(x, y), pixels from the centre of the first pixel."""


def anywhere(rng: np.random.Generator, shape: tuple[int, ...]) -> Point:
    """A place in an image [H, W], all equally likely."""
    across, down = uniform(rng, (2,)).tolist()
    return across * shape[1], down * shape[0]


def curve(start: Point, control: Point, end: Point, pieces: int = 12) -> list[Point]:
    """Points along a quadratic Bézier curve."""
    points = []
    for index in range(pieces + 1):
        t = index / pieces
        a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        points.append(
            (a * start[0] + b * control[0] + c * end[0], a * start[1] + b * control[1] + c * end[1])
        )
    return points


def stroke(
    cover: NDArray[np.float64], points: Sequence[Point], widths: Sequence[float], soft: float = 1.0
) -> None:
    """Lay a line of changing width through points into a coverage, in place; its edge is `soft` pixels wide."""
    height, width = cover.shape
    for (x0, y0), (x1, y1), w0, w1 in zip(points, points[1:], widths, widths[1:], strict=False):
        reach = max(w0, w1) / 2 + soft
        left, right = _span(min(x0, x1) - reach, max(x0, x1) + reach, width)
        top, bottom = _span(min(y0, y1) - reach, max(y0, y1) + reach, height)
        if left >= right or top >= bottom:
            continue
        x, y = np.arange(left, right)[None, :] - x0, np.arange(top, bottom)[:, None] - y0
        dx, dy = x1 - x0, y1 - y0
        along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        far = np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2)
        depth = (w0 + along * (w1 - w0)) / 2 - far
        # A line thinner than a pixel covers a part of it.
        thin = np.minimum(1, w0 + along * (w1 - w0))
        part = cover[top:bottom, left:right]
        np.maximum(part, np.clip(depth / soft + 0.5, 0, 1) * thin, out=part)


def distance(shape: tuple[int, int], centre: Point, stretch: Point = (1.0, 1.0)) -> NDArray[np.float64]:
    """Distance [H, W] from a point, each axis divided by its stretch."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    far: NDArray[np.float64] = np.sqrt(
        ((x - centre[0]) / stretch[0]) ** 2 + ((y - centre[1]) / stretch[1]) ** 2
    )
    return far


def within(far: NDArray[np.float64], radius: float, soft: float = 1.0) -> NDArray[np.float64]:
    """Coverage of a disc, from distances to its centre."""
    cover: NDArray[np.float64] = np.clip((radius - far) / soft + 0.5, 0, 1)
    return cover


def _span(low: float, high: float, side: int) -> tuple[int, int]:
    return max(0, int(np.floor(low))), min(side, int(np.ceil(high)) + 1)

"""The drawing plane: soft-edged shapes on a 64×64 grid, computed identically on every machine.

Only operations that IEEE 754 rounds correctly are used (+, −, ×, ÷, square root, floor, comparison), each in
a numpy loop of its own, so no mathematical library, SIMD width or fused multiply-add can flip a grey level:
sines are parabolic arcs, rotations are rational, noise is made of uniform numbers.

Coordinates: x to the right, y down, both −1 to 1 across the image, so one pixel is 1/32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.draws import Draws
SIDE = 64
Field: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = tuple[float, float, float]

_AXIS = (np.arange(SIDE, dtype=np.float64) - (SIDE - 1) / 2) / (SIDE / 2)
_SOFT = 1.5 / (SIDE / 2)  # width of an edge: one and a half pixels


def wave(turns: Field) -> Field:
    """A sine in parabolic arcs: period 1, values −1 to 1, zero and rising at 0."""
    part = turns - np.floor(turns)
    upper = part >= 0.5
    arc = 16 * np.where(upper, (part - 0.5) * (1 - part), part * (0.5 - part))
    return np.where(upper, -arc, arc)


def spokes(count: int, start: float = 0.0) -> list[tuple[float, float]]:
    """`count` unit vectors around the circle, the first one `start` turns from the x axis."""
    turns = start + np.arange(count) / count
    x, y = wave(turns + 0.25), wave(turns)
    length = np.sqrt(x * x + y * y)
    return list(zip((x / length).tolist(), (y / length).tolist(), strict=True))


def bump(distance: Field) -> Field:
    """A smooth hill of height 1 over distances −1 to 1, flat zero beyond."""
    inside = np.maximum(0.0, 1 - distance * distance)
    return inside * inside


def edge(depth: Field, soft: float = _SOFT) -> Field:
    """Coverage 0 to 1 from a signed depth (positive inside), with a soft edge."""
    return np.clip(depth / soft + 0.5, 0.0, 1.0)


def paint(image: Field, cover: Field, value: float | Field) -> Field:
    """Lay a grey value over an image [H, W] where `cover` says."""
    return image + cover * (value - image)


def tint(image: Field, cover: Field, colour: Colour) -> Field:
    """Lay a colour over an image [H, W, 3] where `cover` [H, W] says."""
    return image + cover[..., None] * (np.array(colour, dtype=np.float64) - image)


def flat(colour: Colour) -> Field:
    """An image [H, W, 3] of one colour."""
    return np.broadcast_to(np.array(colour, dtype=np.float64), (SIDE, SIDE, 3)).copy()


def grain(rng: Draws, deviation: float) -> Field:
    """Pixel noise [H, W] of a standard deviation, made of two uniform numbers per pixel."""
    return (rng.random((SIDE, SIDE)) + rng.random((SIDE, SIDE)) - 1.0) * (math.sqrt(6.0) * deviation)


@lru_cache(maxsize=16)
def _lattice(cells: int) -> tuple[NDArray[np.intp], Field]:
    place = np.arange(SIDE, dtype=np.float64) * (cells / SIDE)
    index = np.floor(place)
    part = place - index
    return index.astype(np.intp), part * part * (3 - 2 * part)


def cloud(rng: Draws, cells: int) -> Field:
    """Smooth noise [H, W] between −1 and 1 with `cells` bumps to a side."""
    knots = rng.random((cells + 1, cells + 1)) * 2 - 1
    index, part = _lattice(cells)
    rows = knots[index] + part[:, None] * (knots[index + 1] - knots[index])
    return rows[:, index] + part * (rows[:, index + 1] - rows[:, index])


@dataclass(frozen=True, slots=True)
class Plane:
    """Where every pixel lies in the drawing.

    Attributes:
        x: [H, W], growing to the right.
        y: [H, W], growing downwards.
    """

    x: Field
    y: Field

    @classmethod
    def posed(cls, rng: Draws, *, shift: float = 0.07, zoom: float = 0.05, tilt: float = 0.04) -> Plane:
        """The plane moved by up to `shift`, scaled by up to `zoom` and turned by up to about 2·`tilt` radians."""
        dx, dy = rng.uniforms(-shift, shift, 2)
        scale = rng.uniform(1 - zoom, 1 + zoom)
        t = rng.uniform(-tilt, tilt)
        cosine, sine = (1 - t * t) / (1 + t * t) / scale, 2 * t / (1 + t * t) / scale
        x, y = np.meshgrid(_AXIS - dx, _AXIS - dy)
        return cls(x * cosine + y * sine, y * cosine - x * sine)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, soft: float = _SOFT) -> Field:
        """Coverage of an upright ellipse."""
        x, y = (self.x - cx) / rx, (self.y - cy) / ry
        return edge((1 - np.sqrt(x * x + y * y)) * min(rx, ry), soft)

    def ring(self, cx: float, cy: float, rx: float, ry: float, width: float) -> Field:
        """Coverage of an elliptic ring, `width` measured inwards."""
        return self.ellipse(cx, cy, rx, ry) - self.ellipse(cx, cy, rx - width, ry - width)

    def blob(
        self, cx: float, cy: float, radius: float, rng: Draws, rough: float, soft: float = _SOFT
    ) -> Field:
        """Coverage of a disc whose border wobbles by `rough` (0 round, 0.3 ragged) of its radius."""
        x, y = self.x - cx, self.y - cy
        far = np.sqrt(x * x + y * y) + 1e-9
        c, s = x / far, y / far
        c2, s2 = c * c - s * s, 2 * c * s
        c3, s3 = c2 * c - s2 * s, s2 * c + c2 * s
        c5, s5 = c2 * c3 - s2 * s3, s2 * c3 + c2 * s3
        a, b, d, e, f, g = rng.uniforms(-1, 1, 6)
        wobble = 0.6 * (a * c2 + b * s2 + d * c3 + e * s3) + 0.5 * (f * c5 + g * s5)
        return edge(radius * (1 + rough * wobble) - far, soft)

    def dots(self, centres: list[tuple[float, float]], radius: float) -> Field:
        """Coverage of equal discs, together."""
        nearest = np.full_like(self.x, 9.0)
        for cx, cy in centres:
            x, y = self.x - cx, self.y - cy
            nearest = np.minimum(nearest, x * x + y * y)
        return edge(radius - np.sqrt(nearest))

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float) -> Field:
        """Coverage of a straight stroke with round ends."""
        (x0, y0), (x1, y1) = start, end
        dx, dy = x1 - x0, y1 - y0
        x, y = self.x - x0, self.y - y0
        along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        x, y = x - along * dx, y - along * dy
        return edge(width / 2 - np.sqrt(x * x + y * y))

    def box(self, cx: float, cy: float, half_width: float, half_height: float) -> Field:
        """Coverage of an upright rectangle."""
        return edge(half_width - np.abs(self.x - cx)) * edge(half_height - np.abs(self.y - cy))

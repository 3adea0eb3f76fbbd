"""Faults of dermoscopy: hair, and what comes between dermatoscope and skin.

Anchors: Maron et al. 2021 (a benchmark for skin lesion classifiers under artefacts,
https://doi.org/10.1016/j.ejca.2021.06.047); Bissoto et al. 2020 (hair, rulers, ink, gel bubbles and dark corners as
biases, https://arxiv.org/abs/2004.11457).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.drawing import anywhere, curve, distance, stroke, within
from medrobust_bench.attacks.corruptions.fields import between, uniform
from medrobust_bench.attacks.corruptions.levels import axes, blur, longest, planes, to_image
from medrobust_bench.attacks.corruptions.optics import out_of_focus, slope
from medrobust_bench.attacks.lettering import text_cover
from medrobust_bench.specs.vocabulary import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.corruptions.corruption import Image


def hair(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Hair: thin dark arcs across the picture, all roughly one way; the amount is their number. Free: the direction."""
    levels = planes(image)
    height, width = levels.shape[1:]
    side = longest(levels)
    cover, lit = np.zeros((height, width)), np.zeros((height, width))
    for _ in range(round(amount)):
        turn = np.pi * (free[0] + between(rng, -0.18, 0.18))
        x, y = between(rng, 0, 1) * width, between(rng, 0, 1) * height
        half, bend = side * between(rng, 0.2, 0.5), side * between(rng, -0.2, 0.2)
        dx, dy = half * np.cos(turn), half * np.sin(turn)
        middle = (x - bend * np.sin(turn), y + bend * np.cos(turn))
        wide = side * between(rng, 0.004, 0.009)
        widths = list(wide * np.linspace(1, 0.35, 13))
        path = curve((x - dx, y - dy), middle, (x + dx, y + dy))
        stroke(cover, path, widths)
        glint = [(px - 0.2 * wide, py - 0.2 * wide) for px, py in path]
        stroke(lit, glint, [0.3 * width_at for width_at in widths])
    colour = np.array([42.0, 28.0, 22.0])[: len(levels), None, None]
    shaded = levels + 0.92 * cover * (colour - levels)
    return to_image(shaded + 30 * lit * cover)


def bubbles(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Air bubbles in the immersion fluid: dark rings, brighter inside, with a glint; the amount is their number."""
    levels = planes(image)
    side = longest(levels)
    for _ in range(round(amount)):
        x, y = anywhere(rng, levels.shape[1:])
        radius = side * (0.012 + 0.05 * between(rng, 0, 1) ** 2)
        far = distance(levels.shape[1:], (x, y))
        rim = np.exp(-0.5 * ((far - 0.9 * radius) / max(0.7, 0.11 * radius)) ** 2)
        inside = within(far, radius)
        bright = levels + inside * (1 - far / radius) * 28
        dark = bright * (1 - 0.62 * rim)
        glint = within(
            distance(levels.shape[1:], (x - 0.45 * radius, y - 0.45 * radius)), max(0.7, 0.14 * radius)
        )
        levels = dark + 0.9 * glint * (250 - dark)
    return to_image(levels)


def ruler(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A scale along the border: dark millimetre strokes and figures; the amount is their length, % of the longest side.

    Free: along which border.
    """
    levels = planes(image)
    turns = int(free[0] * 4)
    height, width = levels.shape[1:] if turns % 2 == 0 else (levels.shape[2], levels.shape[1])
    flat = np.zeros((height, width))
    side = longest(levels)
    base, long = height * 0.99, amount / 100 * side
    step = side / 32
    for index in range(int(width / step) + 1):
        x = (index + 0.5) * step
        reach = long * (1 if index % 5 == 0 else 0.6)
        stroke(flat, [(x, base), (x, base - reach)], [side * 0.006] * 2)
        if index % 10 == 5:
            figures = text_cover(str(index // 10 + 1), max(5.0, 0.9 * long))
            top, left = int(base - long - figures.shape[0]), round(x)
            part = flat[max(top, 0) : top + figures.shape[0], left : left + figures.shape[1]]
            np.maximum(part, figures[: part.shape[0], : part.shape[1]], out=part)
    cover = np.rot90(flat, -turns)
    return to_image(levels + 0.85 * cover * (24 - levels))


def ink(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Surgical marker: purple strokes beside the lesion; the amount is their width, % of the longest side.

    The ink filters light: its optical density is added. Free: where around the middle the strokes lie.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    side = longest(levels)
    cover = np.zeros((height, width))
    for index in range(3):
        turn = 2 * np.pi * (free[0] + index / 3 + between(rng, -0.06, 0.06))
        middle = (
            width / 2 + 0.41 * width * np.cos(turn),
            height / 2 + 0.41 * height * np.sin(turn),
        )
        long = side * between(rng, 0.07, 0.14)
        along = (-np.sin(turn) * long, np.cos(turn) * long)
        bend = (0.3 * long * np.cos(turn), 0.3 * long * np.sin(turn))
        path = curve(
            (middle[0] - along[0], middle[1] - along[1]),
            (middle[0] + bend[0], middle[1] + bend[1]),
            (middle[0] + along[0], middle[1] + along[1]),
        )
        stroke(cover, path, [amount / 100 * side] * 13, soft=max(1.0, 0.004 * side))
    # Skin shows through in its furrows.
    patchy = np.clip(cover * (0.8 + 0.45 * blur(uniform(rng, (height, width)) - 0.5, 0.8)), 0, 1)
    passed = np.array([0.40, 0.24, 0.62])[: len(levels), None, None]
    return to_image(levels * passed**patchy)


def corner(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """The round field stop of the dermatoscope: black corners; the amount is their reach, % of half a diagonal."""
    levels = planes(image)
    y, x = axes(levels.shape[1:])
    half = max(0.5, np.sqrt(np.abs(x).max() ** 2 + np.abs(y).max() ** 2))
    far = np.sqrt(x * x + y * y) / half
    inside = np.clip((1 - amount / 100 - far) / 0.03 + 0.5, 0, 1)
    return to_image(6 + inside * (levels - 6))


def glare(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Light reflected by gel or glass: white flecks amid a veil; the amount is the share of light of the strongest.

    Free: where.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    side = longest(levels)
    middle = ((0.2 + 0.6 * free[0]) * width, (0.2 + 0.6 * free[1]) * height)
    veil = 0.35 * np.exp(-0.5 * (distance((height, width), middle) / (0.22 * side)) ** 2)
    for _ in range(9):
        x = middle[0] + side * between(rng, -0.2, 0.2)
        y = middle[1] + side * between(rng, -0.2, 0.2)
        stretch = (between(rng, 0.6, 1.8), between(rng, 0.6, 1.8))
        fleck = distance((height, width), (x, y), stretch) / (side * between(rng, 0.008, 0.025))
        veil = veil + between(rng, 0.5, 1.0) * np.exp(-0.5 * fleck**2)
    return to_image(levels + amount * np.clip(veil, 0, 1) * (252 - levels))


def uneven_light(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Light from one side: the other in the dark; the amount is the share of light lost there. Free: which side."""
    levels = planes(image)
    return to_image(levels * (1 - amount * slope(levels.shape[1:], free) ** 1.5) ** (1 / 2.2))


def defocus(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Held too far from the skin: out of focus; the amount is the radius of blur, % of the longest side."""
    return to_image(out_of_focus(planes(image), amount))


_DERM = frozenset({Modality.DERMOSCOPY})

CORRUPTIONS = (
    Corruption("derm-hair", hair, (1, 60), "hairs", modalities=_DERM, free=1),
    Corruption("derm-bubbles", bubbles, (1, 40), "bubbles", modalities=_DERM),
    Corruption("derm-ruler", ruler, (2, 14), "% of the longest side", modalities=_DERM, free=1),
    Corruption("derm-ink", ink, (0.5, 6), "% of the longest side", modalities=_DERM, free=1),
    Corruption("derm-corner", corner, (2, 28), "% of half a diagonal", modalities=_DERM),
    Corruption("derm-glare", glare, (0, 1), "share", modalities=_DERM, free=2),
    Corruption("derm-uneven-light", uneven_light, (0, 0.97), "share", modalities=_DERM, free=1),
    Corruption("derm-defocus", defocus, (0.1, 3), "% of the longest side", modalities=_DERM),
)

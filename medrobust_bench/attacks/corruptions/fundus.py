"""Faults of fundus photography.

Anchors: Shen et al. 2020 (modeling low-quality retinal fundus images, https://doi.org/10.1109/TMI.2020.3043495), Peli
and Peli 1989 (restoration of images obtained through cataracts, https://doi.org/10.1109/42.41493).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.drawing import anywhere, curve, distance, stroke, within
from medrobust_bench.attacks.corruptions.fields import between, cloud
from medrobust_bench.attacks.corruptions.levels import axes, blur, longest, planes, to_image
from medrobust_bench.attacks.corruptions.optics import aperture, out_of_focus, slope
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.corruptions.corruption import Image


def uneven_light(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Off-centre pupil: one side in the dark; the amount is the share of light lost there. Free: which side."""
    levels = planes(image)
    loss = amount * slope(levels.shape[1:], free) ** 1.5
    return to_image(levels * (1 - loss) ** (1 / 2.2))


def haze(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Cataract: light scattered in a cloudy lens veils the retina; the amount is the share of light scattered.

    Levels become t·level + (1 − t)·veil with the veil a blurred, paler picture, and t uneven as the clouding is.
    """
    levels = planes(image)
    seen = aperture(levels)
    share = amount * (0.85 + 0.15 * cloud(rng, levels.shape[1:], 3)) * seen
    veil = blur(levels, longest(levels) / 8)
    veil = 0.45 * veil + 0.55 * np.array([215.0, 190.0, 150.0])[: len(levels), None, None]
    sharp = out_of_focus(levels, 0.6 * amount)
    return to_image(sharp + share * (veil - sharp))


def defocus(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Refraction not set: vessels and disc out of focus; the amount is the radius of blur, % of the longest side."""
    return to_image(out_of_focus(planes(image), amount))


def spots(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Dust on the front lens: pale discs out of focus; the amount is their number."""
    levels = planes(image)
    side, seen = longest(levels), aperture(levels)
    cover = np.zeros(levels.shape[1:])
    for _ in range(round(amount)):
        x, y = anywhere(rng, levels.shape[1:])
        radius = side * between(rng, 0.008, 0.035)
        far = distance(levels.shape[1:], (x, y))
        glow = within(far, radius, soft=max(1.0, 0.5 * radius)) * between(rng, 0.25, 0.6)
        cover = np.maximum(cover, glow)
    colour = np.array([225.0, 205.0, 170.0])[: len(levels), None, None]
    return to_image(levels + cover * seen * (colour - levels))


def eyelash(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Lashes before the lens: dark blurred arcs from the lower or the upper edge; the amount is their number.

    Free: whether they come from below or from above.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    side = longest(levels)
    cover = np.zeros((height, width))
    for _ in range(round(amount)):
        x, lean, long = between(rng, 0.15, 0.85), between(rng, -0.12, 0.12), between(rng, 0.15, 0.38)
        start = (x * width, height * 1.02)
        control = ((x + lean * 0.2) * width, height * (1.02 - 0.6 * long))
        end = ((x + lean) * width, height * (1.02 - long))
        wide = side * between(rng, 0.008, 0.016)
        stroke(cover, curve(start, control, end), list(np.linspace(wide, 0.2 * wide, 13)), soft=wide)
    cover = blur(cover, side / 160)
    cover = cover if free[0] < 0.5 else cover[::-1]
    return to_image(levels * (1 - 0.8 * np.clip(cover, 0, 1)))


def crescent(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Camera off the pupil: a pale crescent of stray light at the border; the amount is its reach, % of the radius.

    Free: where.
    """
    levels = planes(image)
    y, x = axes(levels.shape[1:])
    turn = 2 * np.pi * free[0]
    far = np.sqrt((x + 0.55 * np.cos(turn)) ** 2 + (y + 0.55 * np.sin(turn)) ** 2)
    glow = np.clip((far - (1.55 - 1.6 * amount / 100)) / 0.5, 0, 1) ** 1.5 * aperture(levels)
    colour = np.array([235.0, 205.0, 185.0])[: len(levels), None, None]
    return to_image(levels + 0.8 * glow * (colour - levels))


_FUNDUS = frozenset({Modality.FUNDUS})
_MISTAKEN = frozenset({QuestionType.GRADING, QuestionType.ATTRIBUTES})

CORRUPTIONS = (
    Corruption("fundus-uneven-light", uneven_light, (0, 0.97), "share", modalities=_FUNDUS, free=1),
    Corruption("fundus-haze", haze, (0, 0.8), "share", modalities=_FUNDUS),
    Corruption("fundus-defocus", defocus, (0.1, 3), "% of the longest side", modalities=_FUNDUS),
    Corruption("fundus-spots", spots, (1, 30), "spots", modalities=_FUNDUS, unfit=_MISTAKEN),
    Corruption("fundus-eyelash", eyelash, (1, 16), "lashes", modalities=_FUNDUS, free=1),
    Corruption("fundus-crescent", crescent, (2, 32), "% of the radius", modalities=_FUNDUS, free=1),
)

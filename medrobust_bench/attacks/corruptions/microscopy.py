"""Faults of light microscopy: staining, focus, light, and what lies on the slide.

Anchors: Ruifrok and Johnston 2001 (stains in optical density), Tellez et al. 2019 (stain augmentation,
https://doi.org/10.1016/j.media.2019.101544), Zhang et al. 2022 (benchmarking pathology under corruptions,
https://doi.org/10.1007/978-3-031-16434-7_24).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.color import hed_from_rgb

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.drawing import curve, distance, stroke, within
from medrobust_bench.attacks.corruptions.fields import between, cloud
from medrobust_bench.attacks.corruptions.levels import axes, blur, longest, planes, to_image
from medrobust_bench.attacks.corruptions.optics import out_of_focus
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image


def stain_strength(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Stained for too long or too short: optical densities times a factor; the amount is its natural logarithm.

    Free: stronger or weaker.
    """
    factor = np.exp(amount if free[0] < 0.5 else -0.7 * amount)
    return to_image(_levels(_density(planes(image)) * factor))


def stain_balance(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Another laboratory's stain: hematoxylin and eosin in another ratio; the amount is the logarithm of the change.

    Optical density is split into hematoxylin, eosin and the rest (scikit-image's HED basis), each times a factor of its
    own. In a picture of one grey plane there is nothing to split. Free: the three factors.
    """
    levels = planes(image)
    density = _density(levels)
    factors = np.exp(amount * (2 * np.array(free) - 1))
    if len(levels) == 1:
        return to_image(_levels(density * factors[0]))
    to_stains = np.asarray(hed_from_rgb, dtype=np.float64)
    basis = np.linalg.inv(to_stains)
    changed = to_stains @ np.diag(factors) @ basis
    mixed = [sum(changed[a, b] * density[a] for a in range(3)) for b in range(3)]
    return to_image(_levels(np.stack(mixed)))


def defocus(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Out of the focal plane; the amount is the radius of blur, % of the longest side."""
    return to_image(out_of_focus(planes(image), amount))


def bubble(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Air under the cover slip: a large disc with a dark rim, inside paler and out of focus; the amount is its radius.

    The amount is in per cent of the longest side. Free: where its centre lies.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    radius = amount / 100 * longest(levels)
    far = distance((height, width), (free[0] * width, free[1] * height))
    inside = within(far, radius)
    blurred = out_of_focus(levels, 0.8)
    pale = blurred + 0.35 * (np.minimum(blurred * 1.25, 250) - blurred) + 8
    filled = levels + inside * (pale - levels)
    thick = max(1.0, 0.06 * radius)
    rim = np.exp(-0.5 * ((far - radius) / thick) ** 2)
    halo = np.exp(-0.5 * ((far - radius + 2.2 * thick) / thick) ** 2)
    return to_image(filled * (1 - 0.75 * rim) + 40 * halo)


def dust(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Dust and fibres on the slide: dark specks and threads, out of focus; the amount is their number."""
    levels = planes(image)
    height, width = levels.shape[1:]
    side = longest(levels)
    cover = np.zeros((height, width))
    for index in range(round(amount)):
        x, y = between(rng, 0, 1) * width, between(rng, 0, 1) * height
        if index % 3 == 2:
            turn, long = 2 * np.pi * between(rng, 0, 1), side * between(rng, 0.06, 0.16)
            bend = long * between(rng, -0.5, 0.5)
            path = curve(
                (x, y),
                (
                    x + 0.5 * long * np.cos(turn) - bend * np.sin(turn),
                    y + 0.5 * long * np.sin(turn) + bend * np.cos(turn),
                ),
                (x + long * np.cos(turn), y + long * np.sin(turn)),
            )
            stroke(cover, path, [side * 0.006] * 13, soft=1.5)
        else:
            stretch = (between(rng, 0.7, 1.4), between(rng, 0.7, 1.4))
            radius = side * between(rng, 0.005, 0.016)
            np.maximum(
                cover,
                within(distance((height, width), (x, y), stretch), radius, soft=max(1.0, 0.4 * radius)),
                out=cover,
            )
    return to_image(levels * (1 - 0.8 * blur(cover, side / 400)))


def fold(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """The section folded over: a dark band, light passes tissue twice; the amount is its width, % of the longest side.

    The optical density of the neighbouring tissue, mirrored at the crease, is added. Free: direction and place.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    turn = np.pi * free[0]
    y, x = axes((height, width))
    wave = 0.05 * cloud(rng, (height, width), 4)
    across = x * np.cos(turn) + y * np.sin(turn) - 0.6 * (free[1] - 0.5) + wave
    half = amount / 100
    inside = np.clip((half - np.abs(across)) * longest(levels) / 2 / 1.5 + 0.5, 0, 1)
    density = _density(levels)
    other = _mirrored(density, across, turn)
    crease = np.exp(-0.5 * ((np.abs(across) - half) / 0.015) ** 2)
    return to_image(_levels(density + inside * other + 0.25 * crease * inside))


def uneven_light(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Condenser off its axis: bright in one place, dark corners; the amount is the share of light lost there.

    Free: the bright place.
    """
    levels = planes(image)
    y, x = axes(levels.shape[1:])
    far = (x - 0.8 * (free[0] - 0.5)) ** 2 + (y - 0.8 * (free[1] - 0.5)) ** 2
    return to_image(levels * (1 - amount * far / far.max()) ** (1 / 2.2))


def white_balance(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Wrong colour temperature of the lamp: all bluish or yellowish; the amount is the logarithm of red over blue gain.

    Free: which way.
    """
    levels = planes(image)
    colour = np.broadcast_to(levels, (3, *levels.shape[1:]))
    way = amount / 2 if free[0] < 0.5 else -amount / 2
    gains = np.exp(np.array([way, 0.0, -way]))
    return to_image(colour * (gains / max(1.0, gains.max() ** 0.5))[:, None, None])


def _density(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Optical density, natural logarithm; glass is 0."""
    return -np.log((levels + 1) / 256)


def _levels(density: NDArray[np.float64]) -> NDArray[np.float64]:
    return 256 * np.exp(-density) - 1


def _mirrored(density: NDArray[np.float64], across: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
    """The density [C, H, W] of the place on the other side of the crease."""
    height, width = density.shape[1:]
    half = max(height, width) / 2
    rows, columns = np.mgrid[:height, :width]
    x = np.clip(np.rint(columns - 2 * across * half * np.cos(turn)), 0, width - 1).astype(int)
    y = np.clip(np.rint(rows - 2 * across * half * np.sin(turn)), 0, height - 1).astype(int)
    return density[:, y, x]


_MICRO = frozenset({Modality.MICROSCOPY})
_COUNTED = frozenset({QuestionType.ATTRIBUTES})

CORRUPTIONS = (
    Corruption("micro-stain-strength", stain_strength, (0, 1.2), "log", modalities=_MICRO, free=1),
    Corruption("micro-stain-balance", stain_balance, (0, 1.2), "log", modalities=_MICRO, free=3),
    Corruption("micro-defocus", defocus, (0.1, 3), "% of the longest side", modalities=_MICRO),
    Corruption(
        "micro-bubble", bubble, (3, 30), "% of the longest side", modalities=_MICRO, unfit=_COUNTED, free=2
    ),
    Corruption("micro-dust", dust, (1, 60), "specks", modalities=_MICRO, unfit=_COUNTED),
    Corruption(
        "micro-fold", fold, (0.2, 16), "% of the longest side", modalities=_MICRO, unfit=_COUNTED, free=2
    ),
    Corruption("micro-uneven-light", uneven_light, (0, 0.97), "share", modalities=_MICRO, free=2),
    Corruption("micro-white-balance", white_balance, (0, 0.5), "log", modalities=_MICRO, free=1),
)

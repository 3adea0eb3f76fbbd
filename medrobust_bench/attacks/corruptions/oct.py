"""Faults of optical coherence tomography (B-scans of the retina).

A B-scan shows the logarithm of the reflected light over a dynamic range, here taken for 40 dB. Depth grows downwards;
one column is one A-scan. Anchors: Schmitt et al. 1999 (speckle, https://doi.org/10.1117/1.429925), Ray et al. 2005 and
Bazvand et al. 2017 (clinical artefacts, https://doi.org/10.4103/jovr.jovr_70_16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.corruptions.corruption import MOVED, Corruption
from medrobust_bench.attacks.corruptions.fields import cloud, normal
from medrobust_bench.attacks.corruptions.levels import longest, planes, to_image
from medrobust_bench.attacks.corruptions.ultrasound import speckle_decibels
from medrobust_bench.specs.vocabulary import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image

DECIBEL = 255 / 40
"""Levels of one decibel."""


def speckle(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Speckle: fine grains; the amount is the share of fully developed speckle."""
    levels = planes(image)
    grain = max(0.45, longest(levels) / 600)
    noise = speckle_decibels(rng, levels.shape[1:], (grain, 1.2 * grain))
    return to_image(levels + amount * DECIBEL * noise * np.clip((levels + 10) / 60, 0, 1))


def blink(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Blinks: A-scans that saw the lid, black but for noise; the amount is the share of columns lost.

    Free: where the three blinks are.
    """
    levels = planes(image)
    width = levels.shape[2]
    columns = np.arange(width) / width
    lost = np.zeros(width)
    for place, share in zip(free, (0.5, 0.3, 0.2), strict=True):
        middle = 0.08 + 0.84 * place
        lost = np.maximum(lost, np.clip((share * amount / 2 - np.abs(columns - middle)) * width + 0.5, 0, 1))
    floor = np.abs(normal(rng, levels.shape[1:])) * 10
    return to_image(levels + lost * (floor - levels))


def signal_drop(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Clouded media or dry cornea: the signal sinks into the noise; the amount is the loss in decibels, noise kept."""
    levels = planes(image)
    floor = DECIBEL * (4 + speckle_decibels(rng, levels.shape[1:], (0.5, 0.5)))
    power = 10 ** ((levels / DECIBEL - amount) / 10) + 10 ** (floor / DECIBEL / 10) * min(1.0, amount / 3)
    return to_image(DECIBEL * 10 * np.log10(power))


def tilt(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Beam not through the middle of the pupil: the retina slopes; the amount is the rise over the width, % of it.

    Each column moves in depth, what leaves above comes in below from the edge. Free: which way.
    """
    levels = planes(image)
    width = levels.shape[2]
    slope = (np.arange(width) / max(1, width - 1) - 0.5) * (amount / 100 * width)
    return to_image(_in_depth(levels, slope if free[0] < 0.5 else -slope))


def motion(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """The eye moves along the beam: the layers wave and jump; the amount is how far, % of the width."""
    levels = planes(image)
    width = levels.shape[2]
    drift = cloud(rng, (1, width), 5)[0]
    jump = 0.5 * np.sign(cloud(rng, (1, width), 9)[0])
    return to_image(_in_depth(levels, (drift + jump) * (amount / 100 * width)))


def vignetting(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """The iris cuts the beam: one side fades; the amount is the loss at the edge in decibels. Free: which side."""
    levels = planes(image)
    across = np.linspace(0, 1, levels.shape[2])
    across = across if free[0] < 0.5 else 1 - across
    loss = np.clip((across - 0.35) / 0.65, 0, 1) ** 2
    return to_image(levels - amount * DECIBEL * loss)


def defocus(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Focus before or behind the retina: wide spots and a weaker signal; the amount is their spread, % of the width.

    Only across: depth is resolved by the width of the light's spectrum, not by the lens.
    """
    levels = planes(image)
    spread = amount / 100 * levels.shape[2]
    reach = max(1, int(np.ceil(3 * spread)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(spread, 0.1)) ** 2)
    kernel /= kernel.sum()
    power = 10 ** (np.pad(levels, ((0, 0), (0, 0), (reach, reach)), mode="edge") / DECIBEL / 10)
    width = levels.shape[2]
    wide = sum(weight * power[:, :, step : step + width] for step, weight in enumerate(kernel))
    return to_image(DECIBEL * 10 * np.log10(np.asarray(wide)) - 1.5 * DECIBEL * amount)


def _in_depth(levels: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels [C, H, W] with every column moved down by its shift, linear between pixels, edges going on."""
    rows = np.arange(levels.shape[1], dtype=np.float64)[:, None] - shifts[None, :]
    rows = np.clip(rows, 0, levels.shape[1] - 1)
    upper = np.minimum(np.floor(rows).astype(int), levels.shape[1] - 2)
    part = rows - upper
    columns = np.arange(levels.shape[2])[None, :]
    moved: NDArray[np.float64] = levels[:, upper, columns] * (1 - part) + levels[:, upper + 1, columns] * part
    return moved


_OCT = frozenset({Modality.OCT})

CORRUPTIONS = (
    Corruption("oct-speckle", speckle, (0, 1.5), "share", modalities=_OCT),
    Corruption("oct-blink", blink, (0, 0.3), "share of columns", modalities=_OCT, free=3),
    Corruption("oct-signal-drop", signal_drop, (0, 16), "dB", modalities=_OCT),
    Corruption("oct-tilt", tilt, (0, 30), "% of the width", modalities=_OCT, unfit=MOVED, moves=True, free=1),
    Corruption("oct-motion", motion, (0, 4), "% of the width", modalities=_OCT, unfit=MOVED, moves=True),
    Corruption("oct-vignetting", vignetting, (0, 22), "dB", modalities=_OCT, free=1),
    Corruption("oct-defocus", defocus, (0.1, 3), "% of the width", modalities=_OCT),
)

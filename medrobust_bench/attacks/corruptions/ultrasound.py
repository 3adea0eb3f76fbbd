"""Faults of ultrasound imaging (B-mode).

A B-mode picture shows the logarithm of the echo over a dynamic range, here taken for 60 dB: 4.25 levels are 1 dB. Depth
grows downwards and beams run down the columns, as with a linear transducer. Pixels without any echo (the frame around
the fan) stay black. Anchor: Szabo 2013, Diagnostic Ultrasound Imaging: Inside Out; Feldman et al. 2009, US artifacts
(https://doi.org/10.1148/rg.294085199).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.fields import between, cloud, normal
from medrobust_bench.attacks.corruptions.levels import blur, longest, luminance, planes, to_image
from medrobust_bench.specs.vocabulary import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image

DECIBEL = 255 / 60
"""Levels of one decibel."""


def speckle(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Speckle: grains wider than deep; the amount is the share of fully developed speckle.

    Scatterers too fine to resolve add up to a complex normal field under the beam's point spread (Wagner et al. 1983,
    https://doi.org/10.1109/T-SU.1983.31404); its magnitude, in decibels, is added to the logarithm of the echo.
    """
    levels = planes(image)
    grain = longest(levels) / 300
    return to_image(
        levels
        + amount
        * _echo(levels)
        * DECIBEL
        * speckle_decibels(rng, levels.shape[1:], (max(0.5, 0.6 * grain), max(0.8, 1.3 * grain)))
    )


def speckle_decibels(
    rng: np.random.Generator, shape: tuple[int, int], grain: tuple[float, float]
) -> NDArray[np.float64]:
    """Fully developed speckle [H, W] in decibels, of mean power one; `grain` is the spread in rows and columns."""
    parts = [gaussian_filter(normal(rng, shape), grain, mode="wrap") for _ in range(2)]
    power = parts[0] * parts[0] + parts[1] * parts[1]
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(power / power.mean(), 1e-4))
    return decibels


def attenuation(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Gain not set for the depth: echoes fade downwards; the amount is the loss at the bottom in decibels."""
    levels = planes(image)
    depth = np.linspace(0, 1, levels.shape[1])[:, None]
    return to_image(levels - amount * DECIBEL * depth)


def gain_bands(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Time-gain sliders out of line: bright and dark bands across; the amount is a slider's error in decibels.

    Free: the eight sliders.
    """
    levels = planes(image)
    sliders = 2 * np.array(free) - 1
    depth = np.linspace(0, len(sliders) - 1, levels.shape[1])
    gain = np.interp(depth, np.arange(len(sliders)), sliders)[:, None]
    return to_image(levels + amount * DECIBEL * gain * _echo(blur(levels, 1.5)))


def over_gain(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too much gain: everything bright, noise from below the display's range in cysts; the amount is in decibels."""
    levels = planes(image)
    noise = speckle_decibels(rng, levels.shape[1:], (0.6, 0.8)) - 4
    power = 10 ** ((levels / DECIBEL + amount) / 10) + 10 ** ((noise + amount) / 10)
    loud = np.maximum(DECIBEL * 10 * np.log10(power) - 3 * DECIBEL * (levels < 1), levels)
    return to_image(levels + _scanned(levels) * (loud - levels))


def shadow(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Shadow behind gas, bone or a stone: dark columns below it; the amount is the loss in decibels.

    The reflector is the brightest row in the upper half of those columns. Free: the columns, and how many (6 to 22 %).
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    half = width * (0.03 + 0.08 * free[1])
    middle = half + free[0] * (width - 1 - 2 * half)
    columns = np.arange(width)
    inside = np.clip((half - np.abs(columns - middle)) / max(1.0, 0.25 * half) + 0.5, 0, 1)
    beam = (luminance(levels)[: max(1, height // 2)] * inside).sum(axis=1)
    start = int(np.argmax(beam[height // 8 :])) + height // 8
    below = np.clip((np.arange(height) - start) / max(1.0, height / 12), 0, 1)[:, None]
    return to_image(levels - amount * DECIBEL * below * inside)


def reverberation(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Echoes between transducer and a near interface: the near field again and again below; the amount is in decibels.

    Each round comes one interface depth later and weaker by the amount (−30 dB is faint, −3 dB strong); powers add.
    Free: the depth of the interface, 10 to 25 % of the picture.
    """
    levels = planes(image)
    height = levels.shape[1]
    period = max(2, round(height * (0.10 + 0.15 * free[0])))
    power = 10 ** (levels / DECIBEL / 10) - 1
    total = power.copy()
    near = power * np.clip((1.6 - np.arange(height) / period) / 0.5, 0, 1)[:, None]
    for index in range(1, height // period + 1):
        echo = np.zeros_like(power)
        echo[:, index * period :] = near[:, : height - index * period]
        total += echo * 10 ** (amount * index / 10)
    heard = DECIBEL * 10 * np.log10(total + 1)
    return to_image(levels + _scanned(levels) * (heard - levels))


def poor_contact(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Transducer not touching everywhere: dark curtains from the top; the amount is the loss in decibels.

    Free: where the contact is lost.
    """
    levels = planes(image)
    width = levels.shape[2]
    columns = np.arange(width) / width
    gap = between(rng, 0.05, 0.10)
    lost = sum(np.clip((gap - np.abs(columns - place)) / 0.04 + 0.5, 0, 1) for place in (free[0], free[1]))
    return to_image(levels - amount * DECIBEL * np.minimum(lost, 1))


def clutter(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Haze from side lobes and fat: a grainy veil over dark regions; the amount is its mean level."""
    levels = planes(image)
    veil = amount * (1 + 0.35 * cloud(rng, levels.shape[1:], 4))
    grain = longest(levels) / 300
    veil = veil + DECIBEL * speckle_decibels(
        rng, levels.shape[1:], (max(0.5, 0.6 * grain), max(0.8, 1.3 * grain))
    )
    power = 10 ** (levels / DECIBEL / 10) + 10 ** (veil / DECIBEL / 10) - 1
    hazy = DECIBEL * 10 * np.log10(np.maximum(power, 1))
    return to_image(levels + _scanned(levels) * (hazy - levels))


def _scanned(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where [H, W] the transducer looks: not the black frame that reaches in from above, from the left or the right."""
    black = luminance(blur(levels, 1.0)) < 3
    beyond = np.zeros(black.shape, dtype=bool)
    for turned, seen in ((black, beyond), (black[:, ::-1], beyond[:, ::-1]), (black.T, beyond.T)):
        seen |= np.logical_and.accumulate(turned, axis=1)
    return np.clip(1 - blur(beyond.astype(np.float64), 1.0), 0, 1)


def _echo(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a pixel is an echo at all: 0 in the black frame, 1 from level 16 on."""
    return np.clip(levels / 16, 0, 1)


_US = frozenset({Modality.ULTRASOUND})

CORRUPTIONS = (
    Corruption("us-speckle", speckle, (0, 1.2), "share", modalities=_US),
    Corruption("us-attenuation", attenuation, (0, 25), "dB", modalities=_US),
    Corruption("us-gain-bands", gain_bands, (0, 20), "dB", modalities=_US, free=8),
    Corruption("us-over-gain", over_gain, (0, 20), "dB", modalities=_US),
    Corruption("us-shadow", shadow, (0, 22), "dB", modalities=_US, free=2),
    Corruption("us-reverberation", reverberation, (-40, -6), "dB", modalities=_US, free=1),
    Corruption("us-poor-contact", poor_contact, (0, 22), "dB", modalities=_US, free=2),
    Corruption("us-clutter", clutter, (0, 90), "levels", modalities=_US),
)

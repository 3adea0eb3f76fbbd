"""Faults of projection radiography (X-ray).

Bright is what absorbs. The picture is taken for the logarithm of the transmitted beam: I = exp(−3·level/255), so that
white lets 5 % of the beam through. Anchor: Bushberg et al. 2012, The Essential Physics of Medical Imaging; Shetty et
al. 2011 (computed radiography image artifacts, https://doi.org/10.1259/bjr/11198171).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.corruptions.corruption import LOSES_PICTURE, Corruption
from medrobust_bench.attacks.corruptions.fields import between, normal, poisson, uniform
from medrobust_bench.attacks.corruptions.levels import axes, blur, longest, planes, to_image
from medrobust_bench.attacks.lettering import text_cover, text_width
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image

_DEPTH = 3.0
"""Natural logarithm of the beam between black and white."""
_MARKERS = ("R", "L", "AP", "PA", "SUPINE", "ERECT", "PORTABLE")


def scatter(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Scattered radiation, no grid: a veil, dense parts grey; the amount is scatter over primary beam.

    The scatter is the beam spread over a tenth of the field; the exposure control keeps the dose at the detector, so
    the sum is divided by 1 + amount.
    """
    beam = _beam(planes(image))
    veil = blur(beam, 0.1 * longest(beam))
    return to_image(_level((beam + amount * veil) / (1 + amount)))


def grid_lines(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A stationary grid: its lines beat with the pixels; the amount is how much of the beam a line takes, per cent.

    Free: their period (2.2 to 6 pixels) and a slight slant.
    """
    beam = _beam(planes(image))
    y, x = np.mgrid[: beam.shape[1], : beam.shape[2]]
    period, slant = 2.2 + 3.8 * free[0], 0.06 * (2 * free[1] - 1)
    lines = 0.5 + 0.5 * np.cos(2 * np.pi * (x + slant * y) / period)
    return to_image(_level(beam * (1 - amount / 100 * lines)))


def grid_cutoff(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A focused grid off its centre: one side loses beam and turns white; the amount is the loss there, per cent.

    Free: which side.
    """
    beam = _beam(planes(image))
    across = np.linspace(0, 1, beam.shape[2])
    across = across if free[0] < 0.5 else 1 - across
    return to_image(_level(beam * (1 - amount / 100 * across)))


def underexposure(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too few photons: quantum mottle, most where little comes through; the amount is photons a pixel in the open beam.

    A digital detector shows the same brightness whatever the dose, so that only noise tells.
    """
    beam = _beam(planes(image))
    return to_image(_level(np.maximum(poisson(rng, amount * beam), 0.5) / amount))


def overexposure(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too many photons: the detector saturates, lungs burn out to black; the amount is the factor of the dose."""
    return to_image(_level(np.minimum(amount * _beam(planes(image)), 1)))


def marker(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A lead marker on the cassette: white letters near a corner; the amount is their height, % of the longest side.

    Free: the corner, and how far from it.
    """
    levels = planes(image)
    text = _MARKERS[int(uniform(rng, (1,))[0] * len(_MARKERS))]
    size = max(5.0, amount / 100 * longest(levels) / 0.73)
    wide = text_width(text, size)
    if wide > levels.shape[2] + 1:  # a narrow picture takes smaller letters
        size *= 0.9 * levels.shape[2] / wide
    cover = text_cover(text, size)
    cover = cover[: levels.shape[1], : levels.shape[2]]
    rooms = (levels.shape[1] - cover.shape[0], levels.shape[2] - cover.shape[1])
    inset = 0.02 + 0.08 * free[1]
    corner = int(free[0] * 4)
    top = round(rooms[0] * (inset if corner < 2 else 1 - inset))
    left = round(rooms[1] * (inset if corner % 2 else 1 - inset))
    part = levels[:, top : top + cover.shape[0], left : left + cover.shape[1]]
    part += cover * (np.maximum(part, 240.0) - part)
    return to_image(levels)


def collimation(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Shutters too far in and askew: black borders with a soft edge; the amount is how far, % of a side.

    Free: how the amount is shared out among the four shutters.
    """
    levels = planes(image)
    y, x = axes(levels.shape[1:])
    y, x = y / max(0.5, np.abs(y).max()), x / max(0.5, np.abs(x).max())
    tilt = between(rng, -0.03, 0.03)
    u, v = x + tilt * y, y - tilt * x
    shares = 0.35 + 0.65 * np.array(free)
    shares = shares / shares.max() * 2 * amount / 100
    depth = np.minimum(
        np.minimum(u + 1 - shares[0], 1 - u - shares[1]), np.minimum(v + 1 - shares[2], 1 - v - shares[3])
    )
    inside = np.clip(depth / 0.02 + 0.5, 0, 1)
    dark = np.minimum(levels, 8 + normal(rng, levels.shape[1:]))
    return to_image(dark + inside * (levels - dark))


def _beam(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-_DEPTH / 255 * levels)


def _level(beam: NDArray[np.float64]) -> NDArray[np.float64]:
    return -255 / _DEPTH * np.log(beam)


_XRAY = frozenset({Modality.XRAY})
_SIDES = frozenset({QuestionType.ATTRIBUTES})

CORRUPTIONS = (
    Corruption("xray-scatter", scatter, (0, 3), "scatter over primary", modalities=_XRAY),
    Corruption("xray-grid-lines", grid_lines, (0, 60), "% of the beam", modalities=_XRAY, free=2),
    Corruption("xray-grid-cutoff", grid_cutoff, (0, 85), "% of the beam", modalities=_XRAY, free=1),
    Corruption("xray-underexposure", underexposure, (3000, 8), "photons a pixel", modalities=_XRAY),
    Corruption("xray-overexposure", overexposure, (1, 3.5), "factor", modalities=_XRAY),
    Corruption(
        "xray-marker", marker, (3, 14), "% of the longest side", modalities=_XRAY, unfit=_SIDES, free=2
    ),
    Corruption(
        "xray-collimation",
        collimation,
        (1, 10),
        "% of a side",
        modalities=_XRAY,
        unfit=LOSES_PICTURE,
        free=4,
    ),
)

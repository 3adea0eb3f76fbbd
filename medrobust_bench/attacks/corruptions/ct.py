"""Faults of computed tomography, made where they happen: in the sinogram.

A fault changes the measured line integrals by some Δp. Filtered back-projection is linear, so the corrupted slice is
the clean one plus the reconstruction of Δp (scikit-image's `radon` and `iradon`); the clean slice itself is never
re-reconstructed, which would blur it.

The picture tells neither its window nor the patient's size. Level 0 is taken for air, attenuation for proportional to
the level, and its scale such that the densest ray is weakened e⁶-fold, as through a large adult. The field of view is
40 cm.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from skimage.transform import downscale_local_mean, iradon, radon

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.drawing import distance, within
from medrobust_bench.attacks.corruptions.fields import normal, poisson, uniform
from medrobust_bench.attacks.corruptions.levels import luminance, planes, to_image
from medrobust_bench.specs.vocabulary import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image

VIEWS = 180
_ANGLES = np.arange(VIEWS, dtype=np.float64) * (180 / VIEWS)
_FIELD = 40.0
"""Field of view, cm."""
_DENSEST = 6.0
"""Natural logarithm by which the densest ray is weakened."""
_COARSE = 160
"""Where only the amount of attenuation on a ray matters, it is projected on a grid of at most this side."""

# A spectrum of 120 kV in three lines: 50, 80 and 110 keV (NIST XCOM, https://physics.nist.gov/xcom).
_WEIGHTS = np.array([0.35, 0.40, 0.25])
_WATER = np.array([0.227, 0.184, 0.165]) / 0.19
"""Attenuation of water relative to 75 keV."""
_TITANIUM = np.array([5.49, 1.84, 1.10])
"""Attenuation of titanium, 1/cm."""
_SLICES = 4
"""Of which projections are kept: as many as are in work at a time."""
_STARVED = 0.5
"""Counts below one half read as one half: a ray that nothing came through still has a logarithm."""


def low_dose(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too few photons: Poisson counts behind the patient, streaks along thick directions; the amount is photons a ray.

    After Zabić et al. 2013 (https://doi.org/10.1118/1.4789628): I = I₀·exp(−p), counts ~ Poisson(I) plus electronic
    noise of a standard deviation of 3 photons, p' = −ln(counts/I₀).
    """
    paths, scale = _attenuation(image)
    counts = poisson(rng, amount * np.exp(-paths)) + 3 * normal(rng, paths.shape)
    return _with_fault(image, (-np.log(np.maximum(counts, _STARVED) / amount) - paths) / scale)


def sparse_view(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too few projections: fine streaks from every edge; the amount is the number of views over half a turn.

    Free: the angle of the first view.
    """
    sinogram, whole = _projected(image.tobytes(), image.shape)
    start = free[0] * VIEWS / amount
    kept = np.floor(start + np.arange(round(amount)) * (VIEWS / round(amount))).astype(int) % VIEWS
    fewer = _back(sinogram[:, kept], _ANGLES[kept], image)
    return to_image(planes(image) + (fewer - whole))


def ring(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Badly calibrated detector elements: rings about the centre; the amount is the error of their gain in per cent.

    The error is normal. One element in six is wrong, by the same factor in every view (Sijbers and Postnov 2004,
    https://doi.org/10.1088/0031-9155/49/14/N06).
    """
    elements = _elements(image)
    wrong = (uniform(rng, (elements,)) < 1 / 6) * normal(rng, (elements,)) * (amount / 100)
    fault = -np.log(np.maximum(1 + wrong, 0.05)) / _attenuation(image)[1]
    # In the other half of the turn an element sees the rays of the one opposite.
    opposite = np.clip(2 * (elements // 2) - np.arange(elements), 0, elements - 1)
    fault = (fault + fault[opposite]) / 2
    return _with_fault(image, np.repeat(fault[:, None], VIEWS, axis=1))


def metal(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A titanium pin in bone: dark bands and streaks from it; the amount is its diameter in mm.

    The pin hardens a beam of three energies beyond what the scanner's water correction undoes, and starves it of
    photons (De Man et al. 1999, https://doi.org/10.1109/23.775600). Free: where among the
    brightest tenth of the body it lies.
    """
    paths, scale = _attenuation(image)
    side, elements = max(image.shape[:2]), _elements(image)
    x, y = _in_bone(image, free[0])
    radius = amount / 20 / _FIELD * side
    turn = np.deg2rad(_ANGLES)[None, :]
    middle = (x - side // 2) * np.cos(turn) - (y - side // 2) * np.sin(turn)
    across = np.arange(elements)[:, None] - elements // 2 - middle
    chord = 2 * np.sqrt(np.maximum(radius * radius - across * across, 0)) * (_FIELD / side)
    passed = _transmitted(paths, chord)
    photons = 1e5
    counts = np.where(chord > 0, poisson(rng, photons * passed), photons * passed)
    seen = -np.log(np.maximum(counts, _STARVED) / photons)
    fault = _back((_water_corrected(seen) - paths) / scale, _ANGLES, image)
    far = distance(image.shape[:2], (x - _margin(image)[1], y - _margin(image)[0]))
    pin = within(far, max(radius, 0.5))  # the metal itself is far beyond white
    return to_image(np.maximum(planes(image) + fault, 255 * pin))


def beam_hardening(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """No correction of beam hardening: a darker middle, bands between bones; the amount is a share of the error.

    Soft photons are absorbed first, so −ln of a beam of several energies grows slower than the path (Brooks and Di
    Chiro 1976, https://doi.org/10.1088/0031-9155/21/3/004).
    """
    paths, scale = _attenuation(image)
    hardened = -np.log(_transmitted(paths, np.zeros_like(paths))) / float(_WEIGHTS @ _WATER)
    return _with_fault(image, amount * (hardened - paths) / scale)


def motion(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """The patient moves once during the scan: double edges, streaks; the amount is how far, % of the field of view.

    Views after the movement are those of the shifted slice. Free: the direction, and when (in the middle half).
    """
    sinogram, _ = _projected(image.tobytes(), image.shape)
    far, direction = amount / 100 * max(image.shape[:2]), 2 * np.pi * free[0]
    turn = np.deg2rad(_ANGLES)
    moved = far * (np.cos(direction) * np.cos(turn) - np.sin(direction) * np.sin(turn))
    moved[: round(VIEWS * (0.25 + 0.5 * free[1]))] = 0
    place = np.arange(len(sinogram), dtype=np.float64)
    shifted = [np.interp(place - step, place, column) for step, column in zip(moved, sinogram.T, strict=True)]
    return to_image(planes(image) + _back(np.stack(shifted, axis=1) - sinogram, _ANGLES, image))


def window(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Wrong window: too narrow and off its level; the amount is its width as a share of the right one.

    Free: the level, off by up to a quarter of what the width lost.
    """
    width = 255 * amount
    middle = 127.5 + (free[0] - 0.5) * (255 - width) / 2
    return to_image((planes(image) - (middle - width / 2)) * (255 / width))


def _with_fault(image: Image, fault: NDArray[np.float64]) -> Image:
    """The slice plus the reconstruction of an error of the line integrals [elements, views], in levels times pixels."""
    return to_image(planes(image) + _back(fault, _ANGLES, image))


def _margin(image: Image) -> tuple[int, int]:
    side = max(image.shape[:2])
    return (side - image.shape[0]) // 2, (side - image.shape[1]) // 2


def _border(image: Image) -> float:
    """The level that the slice has around the body: the median of its border."""
    levels = luminance(planes(image))
    return float(np.median(np.concatenate((levels[0], levels[-1], levels[:, 0], levels[:, -1]))))


def _square(image: Image, air: float = 0.0) -> NDArray[np.float64]:
    """Levels [side, side] of the slice above those of air, amid air."""
    levels, side, (top, left) = luminance(planes(image)) - air, max(image.shape[:2]), _margin(image)
    square = np.zeros((side, side))
    square[top : top + levels.shape[0], left : left + levels.shape[1]] = levels
    return square


def _elements(image: Image) -> int:
    """How many detector elements see the slice."""
    return int(np.ceil(np.sqrt(2) * max(image.shape[:2])))


# The kinds and severities of one slice follow each other, and nearly all of their time is its projection.
@lru_cache(maxsize=_SLICES)
def _projected(pixels: bytes, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sinogram [elements, views] of a slice uint8 [H, W, 3], and its back-projection [H, W]."""
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    sinogram = radon(_square(image, _border(image)), _ANGLES, circle=False, preserve_range=True)
    return sinogram, _back(sinogram, _ANGLES, image)


def _attenuation(image: Image) -> tuple[NDArray[np.float64], float]:
    """Line integrals of the attenuation [elements, views] and what one pixel of level 1 adds to one.

    They are smooth enough to be taken from a coarse grid.
    """
    return _attenuation_of(image.tobytes(), image.shape)


@lru_cache(maxsize=_SLICES)
def _attenuation_of(pixels: bytes, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], float]:
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    square = _square(image)
    factor = -(-len(square) // _COARSE)
    coarse = downscale_local_mean(square, (factor, factor))
    sinogram = radon(coarse, _ANGLES, circle=False, preserve_range=True) * factor
    elements = _elements(image)
    place = (np.arange(elements) - elements // 2) / factor + len(sinogram) // 2
    fine = [np.interp(place, np.arange(len(sinogram)), column) for column in sinogram.T]
    integrals = np.stack(fine, axis=1)
    scale = _DENSEST / max(float(integrals.max()), 1.0)
    return integrals * scale, scale


def _back(sinogram: NDArray[np.float64], angles: NDArray[np.float64], image: Image) -> NDArray[np.float64]:
    """Filtered back-projection [H, W] of line integrals in levels times pixels."""
    side, (top, left) = max(image.shape[:2]), _margin(image)
    square: NDArray[np.float64] = iradon(
        sinogram, angles, output_size=side, circle=False, preserve_range=True
    )
    return square[top : top + image.shape[0], left : left + image.shape[1]]


def _transmitted(paths: NDArray[np.float64], metal_cm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a beam of three energies behind water of an attenuation (at 75 keV) and titanium of a thickness."""
    lines = zip(_WEIGHTS, _WATER, _TITANIUM, strict=True)
    shares = [weight * np.exp(-water * paths - titanium * metal_cm) for weight, water, titanium in lines]
    passed: NDArray[np.float64] = np.sum(shares, axis=0)
    return passed


def _water_corrected(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Attenuation at 75 keV of the water that would give these logarithms."""
    water = np.linspace(0, 40, 4001)
    return np.interp(seen, -np.log(_transmitted(water, np.zeros_like(water))), water)


def _in_bone(image: Image, free: float) -> tuple[int, int]:
    """A place (x, y) of the square slice among the brightest tenth of what is not air."""
    square = _square(image)
    order = np.argsort(square, axis=None, kind="stable")
    bodily = max(10, int((square > 25).sum()))
    place = int(order[len(order) - 1 - int(free * (bodily // 10))])
    return place % len(square), place // len(square)


_CT = frozenset({Modality.CT})

CORRUPTIONS = (
    Corruption("ct-low-dose", low_dose, (1e6, 1500), "photons a ray", modalities=_CT),
    Corruption("ct-sparse-view", sparse_view, (180, 12), "views", modalities=_CT, free=1),
    Corruption("ct-ring", ring, (0, 60), "% of the gain", modalities=_CT),
    Corruption("ct-metal", metal, (0.5, 14), "mm", modalities=_CT, free=1),
    Corruption("ct-beam-hardening", beam_hardening, (0, 2), "share of the error", modalities=_CT),
    Corruption("ct-motion", motion, (0, 8), "% of the field of view", modalities=_CT, free=2),
    Corruption("ct-window", window, (1, 0.5), "share of the width", modalities=_CT, free=1),
)

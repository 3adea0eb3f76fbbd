"""Faults of any image: noise, blur, compression, re-scaling, display settings, re-positioning.

Anchors: ImageNet-C (Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261), MedMNIST-C (Di Salvo et al. 2024,
https://arxiv.org/abs/2406.17536), MedFM-Robust (Cui et al. 2026, https://arxiv.org/abs/2605.19027).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow
from scipy.ndimage import affine_transform

from medrobust_bench.attacks.corruptions.corruption import (
    COLOUR,
    LOSES_PICTURE,
    MOVED,
    Corruption,
)
from medrobust_bench.attacks.corruptions.fields import normal, poisson, uniform
from medrobust_bench.attacks.corruptions.levels import (
    blur,
    convolve,
    longest,
    luminance,
    planes,
    streak,
    to_image,
)
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image


def gaussian_noise(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Electronic noise: normal, the same everywhere; the amount is its standard deviation in levels."""
    levels = planes(image)
    return to_image(levels + amount * normal(rng, levels.shape))


def shot_noise(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Photon noise of a camera: Poisson counts; the amount is the number of photons at white."""
    levels = planes(image)
    return to_image(poisson(rng, levels / 255 * amount) / amount * 255)


def impulse_noise(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Dead and hot pixels, or errors of transmission; the amount is the share of pixels that turn black or white."""
    levels = planes(image)
    lot = uniform(rng, (1, *levels.shape[1:]))
    return to_image(np.where(lot < amount / 2, 0.0, np.where(lot < amount, 255.0, levels)))


def speckle_noise(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Gain noise: every level times 1 + amount·z, z standard normal."""
    levels = planes(image)
    return to_image(levels * (1 + amount * normal(rng, levels.shape)))


def gaussian_blur(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Loss of sharpness: a Gaussian; the amount is its standard deviation in per cent of the longest side."""
    levels = planes(image)
    return to_image(blur(levels, amount / 100 * longest(levels)))


def motion_blur(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Movement during the exposure along a line; the amount is its length in per cent of the longest side.

    Free: the direction.
    """
    levels = planes(image)
    return to_image(convolve(levels, streak(amount / 100 * longest(levels), free[0])))


def jpeg(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Compression as JPEG (ITU-T T.81); the amount is libjpeg's quality."""
    return _recoded(image, "JPEG", quality=round(amount))


def webp(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Compression as lossy WebP (RFC 9649); the amount is libwebp's quality."""
    return _recoded(image, "WEBP", quality=round(amount), method=4)


def rescaling(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Made smaller and larger again, bicubic, as an upload portal does; the amount is the factor."""
    return _resized(image, amount, Pillow.Resampling.BICUBIC, Pillow.Resampling.BICUBIC)


def pixelation(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Large pixels: averaged in squares and shown without interpolation; the amount is the side of a square."""
    return _resized(image, amount, Pillow.Resampling.BOX, Pillow.Resampling.NEAREST)


def banding(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too few grey levels, as on a poor display; the amount is their number."""
    step = 255 / (amount - 1)
    return to_image(np.floor(planes(image) / step + 0.5) * step)


def brightness_up(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Display too bright: the amount is added to every level."""
    return to_image(planes(image) + amount)


def brightness_down(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Display too dark: the amount is taken from every level."""
    return to_image(planes(image) - amount)


def contrast_up(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Display too hard: distances from the mean level times the amount."""
    return _contrast(image, amount)


def contrast_down(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Display too soft: distances from the mean level times the amount."""
    return _contrast(image, amount)


def gamma_up(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Wrong display curve, middle tones too dark: level/255 to the power of the amount."""
    return to_image(255 * (planes(image) / 255) ** amount)


def gamma_down(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Wrong display curve, middle tones too bright: level/255 to the power of the amount."""
    return to_image(255 * (planes(image) / 255) ** amount)


def saturation_up(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Colours too strong: distances from grey times the amount."""
    return _saturation(image, amount)


def saturation_down(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Colours too weak: distances from grey times the amount."""
    return _saturation(image, amount)


def rotation(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Positioned askew; the amount is the angle in degrees. The corners are filled as the edge goes on.

    Free: which way.
    """
    angle = np.deg2rad(amount if free[0] < 0.5 else -amount)
    cosine, sine = np.cos(angle), np.sin(angle)
    return _moved(image, np.array([[cosine, sine], [-sine, cosine]]), (0.0, 0.0))


def shift(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Positioned off the centre, a part lost; the amount is the distance in per cent of the longest side.

    Free: the direction.
    """
    far, turn = amount / 100 * max(image.shape[:2]), 2 * np.pi * free[0]
    return _moved(image, np.eye(2), (far * np.sin(turn), far * np.cos(turn)))


def zoom_in(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too close; the amount is the factor. The border of the picture is lost."""
    return _moved(image, np.eye(2) / amount, (0.0, 0.0))


def zoom_out(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too far; the amount is the factor. The frame is black, nothing is lost.

    Free: where in the frame the picture lies.
    """
    rooms = [(1 - 1 / amount) * side / 2 for side in image.shape[:2]]
    place = (rooms[0] * (2 * free[0] - 1), rooms[1] * (2 * free[1] - 1))
    return _moved(image, np.eye(2) * amount, place, mode="constant")


def _recoded(image: Image, codec: str, **settings: int) -> Image:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, format=codec, **settings)
    return np.array(Pillow.open(buffer).convert("RGB"), dtype=np.uint8)


def _resized(image: Image, factor: float, down: Pillow.Resampling, up: Pillow.Resampling) -> Image:
    height, width = image.shape[:2]
    small = Pillow.fromarray(image).resize(
        (max(1, round(width / factor)), max(1, round(height / factor))), down
    )
    return np.array(small.resize((width, height), up), dtype=np.uint8)


def _contrast(image: Image, factor: float) -> Image:
    levels = planes(image)
    mean = float(luminance(levels).mean())
    return to_image(mean + (levels - mean) * factor)


def _saturation(image: Image, factor: float) -> Image:
    levels = planes(image)
    grey = luminance(levels)
    return to_image(grey + (levels - grey) * factor)


def _moved(
    image: Image, matrix: NDArray[np.float64], offset: tuple[float, float], mode: str = "nearest"
) -> Image:
    """The image with output pixels taken from matrix·(place − offset) about the centre, bilinear."""
    levels = planes(image)
    centre = (np.array(levels.shape[1:]) - 1) / 2
    start = centre - matrix @ (centre + np.array(offset))
    moved = [affine_transform(plane, matrix, offset=start, order=1, mode=mode) for plane in levels]
    return to_image(np.stack(moved))


_EXPOSED = frozenset({Modality.XRAY, Modality.ULTRASOUND}) | COLOUR
_NOT_COHERENT = frozenset({Modality.CT, Modality.MRI, Modality.XRAY}) | COLOUR
_COLOURS = frozenset({QuestionType.ATTRIBUTES})

CORRUPTIONS = (
    Corruption("gaussian-noise", gaussian_noise, (0, 80), "levels"),
    Corruption("shot-noise", shot_noise, (3000, 4), "photons at white", modalities=COLOUR),
    Corruption("impulse-noise", impulse_noise, (0, 0.2), "share of pixels"),
    Corruption("speckle-noise", speckle_noise, (0, 0.8), "standard deviation", modalities=_NOT_COHERENT),
    Corruption("gaussian-blur", gaussian_blur, (0.05, 1.5), "% of the longest side"),
    Corruption("motion-blur", motion_blur, (0.3, 8), "% of the longest side", modalities=_EXPOSED, free=1),
    Corruption("jpeg", jpeg, (95, 7), "quality"),
    Corruption("webp", webp, (95, 1), "quality"),
    Corruption("rescaling", rescaling, (1, 8), "factor"),
    Corruption("pixelation", pixelation, (1, 8), "pixels"),
    Corruption("banding", banding, (64, 6), "levels"),
    Corruption("brightness-up", brightness_up, (0, 90), "levels"),
    Corruption("brightness-down", brightness_down, (0, 90), "levels"),
    Corruption("contrast-up", contrast_up, (1, 3), "factor"),
    Corruption("contrast-down", contrast_down, (1, 0.2), "factor"),
    Corruption("gamma-up", gamma_up, (1, 3), "exponent"),
    Corruption("gamma-down", gamma_down, (1, 0.3), "exponent"),
    Corruption("saturation-up", saturation_up, (1, 3), "factor", modalities=COLOUR, unfit=_COLOURS),
    Corruption("saturation-down", saturation_down, (1, 0), "factor", modalities=COLOUR, unfit=_COLOURS),
    Corruption("rotation", rotation, (0, 12), "degrees", unfit=MOVED, moves=True, free=1),
    Corruption("shift", shift, (0, 8), "% of the longest side", unfit=LOSES_PICTURE, moves=True, free=1),
    Corruption("zoom-in", zoom_in, (1, 1.25), "factor", unfit=LOSES_PICTURE, moves=True),
    Corruption("zoom-out", zoom_out, (1, 1.6), "factor", unfit=MOVED, moves=True, free=2),
)

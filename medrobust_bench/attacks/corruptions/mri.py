"""Faults of magnetic resonance imaging, made where they happen: in k-space or on the complex image.

The picture is taken for a magnitude image whose phase was zero. Rows are the phase-encoding direction. Anchors: TorchIO
(Pérez-García et al. 2021, https://doi.org/10.1016/j.cmpb.2021.106236), Heiland 2008 (from A as in aliasing to Z as in
zipper, https://doi.org/10.1016/j.crad.2007.06.003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import fft2, fftfreq, ifft2
from scipy.ndimage import affine_transform

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.fields import normal
from medrobust_bench.attacks.corruptions.levels import axes, longest, planes, to_image
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image


def bias_field(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Uneven receiver coil: smooth shading; the amount is the logarithm of the gain between its extremes, halved.

    Gain exp(amount·f) with f a polynomial of second order between −1 and 1 (Van Leemput et al. 1999,
    https://doi.org/10.1109/42.811268). Free: the polynomial's five coefficients.
    """
    levels = planes(image)
    y, x = axes(levels.shape[1:])
    a, b, c, d, e = (2 * part - 1 for part in free)
    field = a * x + b * y + c * x * y + d * (x * x - 1 / 3) + e * (y * y - 1 / 3)
    field = field - field.mean()
    return to_image(levels * np.exp(amount * field / max(float(np.abs(field).max()), 1e-9)))


def ghosting(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Breathing or pulsation: faint copies along the phase-encoding direction; the amount is the modulation of k-space.

    A periodic movement multiplies line k by 1 + amount·cos(2πk/n + φ): copies one n-th of the field of view away.
    Free: n between 2.5 and 6, and φ.
    """
    levels = planes(image)
    lines = fftfreq(levels.shape[1]) * levels.shape[1]
    period, phase = 2.5 + 3.5 * free[0], 2 * np.pi * free[1]
    modulation = 1 + amount * np.cos(2 * np.pi * lines / period + phase)
    return to_image(np.abs(ifft2(fft2(levels) * modulation[None, :, None])))


def spike(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A spark in k-space: stripes over the whole image (herringbone); the amount is their height in levels.

    One bad data point at (kx, ky) is a plane wave in the complex image. Free: its direction, its frequency (between a
    20th and a third of a cycle a pixel of a 192-pixel image) and phase.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    row, column = np.arange(height)[:, None] / height, np.arange(width)[None, :] / width
    # No finer than the pixels of a small image can show.
    turn, cycles = np.pi * free[0], min(192 * (0.05 + 0.28 * free[1]), 0.35 * longest(levels))
    down = round(cycles * np.sin(turn) * height / longest(levels))
    across = round(cycles * np.cos(turn) * width / longest(levels))
    angle = 2 * np.pi * (across * column + down * row + free[2])
    real, imaginary = levels + amount * np.cos(angle), amount * np.sin(angle)
    return to_image(np.sqrt(real * real + imaginary * imaginary))


def motion(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """The patient moves during the scan: blurred and ringing edges; the amount is how far, % of the field of view.

    k-space is taken in four parts, each with the head in another place and turned by up to as many degrees as it
    moved per cent (Shaw et al. 2019, https://proceedings.mlr.press/v102/shaw19a.html); its centre is of the first
    place. Free: three directions and three turns.
    """
    levels = planes(image)
    far = amount / 100 * longest(levels)
    rows = np.abs(fftfreq(levels.shape[1]))  # from the centre of k-space outwards, both ways
    spectrum = fft2(levels)
    for part, start in enumerate((0.06, 0.14, 0.28)):
        direction, turn = 2 * np.pi * free[part], np.deg2rad(amount * (2 * free[3 + part] - 1))
        moved = _moved(levels, turn, (far * np.sin(direction), far * np.cos(direction)))
        spectrum = np.where((rows >= start)[None, :, None], fft2(moved), spectrum)
    return to_image(np.abs(ifft2(spectrum)))


def wrap_around(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Field of view too small: what lies beyond folds over; the amount is the share of the picture that is too much.

    k-space lines too far apart repeat the image along the phase-encoding direction.
    """
    levels = planes(image)
    period = (1 - amount) * levels.shape[1]
    total = levels.copy()
    for step in (-period, period):
        total += _moved(levels, 0.0, (step, 0.0))
    return to_image(total)


def rician_noise(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Thermal noise: normal in the real and the imaginary part; the amount is its standard deviation in levels.

    The magnitude is Rician, in air Rayleigh: the background rises (Gudbjartsson and Patz 1995,
    https://doi.org/10.1002/mrm.1910340618).
    """
    levels = planes(image)
    real = levels + amount * normal(rng, levels.shape)
    imaginary = amount * normal(rng, levels.shape)
    return to_image(np.sqrt(real * real + imaginary * imaginary))


def low_resolution(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """Too few k-space lines, zero-filled: blur and ringing at edges (Gibbs); the amount is the share of lines kept."""
    levels = planes(image)
    rows, columns = (np.abs(fftfreq(side)) for side in levels.shape[1:])
    # One line's width of transition, so that the share counts where it falls between two lines.
    kept = [
        np.clip(amount / 2 * side - line * side + 1, 0, 1)
        for line, side in ((rows, levels.shape[1]), (columns, levels.shape[2]))
    ]
    return to_image(np.abs(ifft2(fft2(levels) * kept[0][None, :, None] * kept[1][None, None, :])))


def zipper(image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
    """A radio signal leaks into the room: a dotted line across the image at one frequency; the amount is its height.

    The amount is in levels. Free: at which column.
    """
    levels = planes(image)
    height, width = levels.shape[1:]
    place = (0.15 + 0.7 * free[0]) * (width - 1)
    profile = np.exp(-0.5 * ((np.arange(width) - place) / max(0.6, width / 220)) ** 2)
    real = levels + amount * normal(rng, (height, 1)) * profile
    imaginary = amount * normal(rng, (height, 1)) * profile
    return to_image(np.sqrt(real * real + imaginary * imaginary))


def _moved(levels: NDArray[np.float64], turn: float, offset: tuple[float, float]) -> NDArray[np.float64]:
    """Levels [C, H, W] turned about the centre and shifted (rows, columns), air around them."""
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    centre = (np.array(levels.shape[1:]) - 1) / 2
    start = centre - matrix @ (centre + np.array(offset))
    return np.stack([affine_transform(plane, matrix, offset=start, order=1) for plane in levels])


_MRI = frozenset({Modality.MRI})

CORRUPTIONS = (
    Corruption("mri-bias-field", bias_field, (0, 1.6), "log gain", modalities=_MRI, free=5),
    Corruption("mri-ghosting", ghosting, (0, 1.2), "modulation", modalities=_MRI, free=2),
    Corruption("mri-spike", spike, (0, 70), "levels", modalities=_MRI, free=3),
    Corruption("mri-motion", motion, (0, 6), "% of the field of view", modalities=_MRI, free=6),
    Corruption(
        "mri-wrap-around",
        wrap_around,
        (0, 0.25),
        "share of the picture",
        modalities=_MRI,
        unfit=frozenset({QuestionType.ATTRIBUTES}),
    ),
    Corruption("mri-rician-noise", rician_noise, (0, 60), "levels", modalities=_MRI),
    Corruption("mri-low-resolution", low_resolution, (1, 0.2), "share of lines", modalities=_MRI),
    Corruption("mri-zipper", zipper, (0, 250), "levels", modalities=_MRI, free=1),
)

"""From 8-bit images to planes of grey levels and back, and the filters that corruptions share.

Levels are floats 0 to 255. They are never stretched to the range again: that would undo a corruption. A grey image has
one plane, so it stays grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Image

_TIE = 3.1e-5
"""Added before rounding. Mathematical libraries differ in the last bits; levels that lie exactly between two integers
are common (means of two levels) and would be rounded by those bits. None lies 3.1e-5 below."""


def planes(image: Image) -> NDArray[np.float64]:
    """Levels [C, H, W] of an image uint8 [H, W, 3]: one plane where it is grey, else three."""
    grey = bool((image == image[:, :, :1]).all())
    return np.ascontiguousarray(image[:, :, : 1 if grey else 3].transpose(2, 0, 1), dtype=np.float64)


def to_image(levels: NDArray[np.float64]) -> Image:
    """The image uint8 [H, W, 3] of levels [C, H, W], cut off at 0 and 255 and rounded to the nearest."""
    rounded = np.floor(np.clip(levels, 0, 255) + (0.5 + _TIE)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rounded, (3, *levels.shape[1:])).transpose(1, 2, 0))


def luminance(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness [H, W] of levels [C, H, W] (ITU-R BT.601)."""
    grey: NDArray[np.float64] = levels[0]
    if len(levels) == 3:
        grey = 0.299 * levels[0] + 0.587 * levels[1] + 0.114 * levels[2]
    return grey


def longest(levels: NDArray[np.float64]) -> int:
    """The longest side of [..., H, W], pixels."""
    return int(max(levels.shape[-2:]))


def axes(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows [H, 1] and columns [1, W] as coordinates from the centre, in units of half the longest side."""
    half = max(shape) / 2
    rows, columns = ((np.arange(side, dtype=np.float64) - (side - 1) / 2) / half for side in shape)
    return np.expand_dims(rows, 1), np.expand_dims(columns, 0)


def blur(levels: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian blur of [..., H, W] with a standard deviation in pixels; beyond its edge the image goes on as there."""
    spread = (0,) * (levels.ndim - 2) + (sigma, sigma)
    blurred: NDArray[np.float64] = gaussian_filter(levels, spread, mode="nearest")
    return blurred


def convolve(levels: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolution of [C, H, W] with a kernel of odd sides, normalised; beyond its edge the image goes on as there."""
    down, across = (side // 2 for side in kernel.shape)
    padded = np.pad(levels, ((0, 0), (down, down), (across, across)), mode="edge")
    convolved: NDArray[np.float64] = fftconvolve(
        padded, (kernel / kernel.sum())[None], mode="valid", axes=(1, 2)
    )
    return convolved


def disc(radius: float) -> NDArray[np.float64]:
    """The blur of a lens out of focus: a disc of a radius in pixels, its rim anti-aliased (the circle of confusion)."""
    reach = int(np.ceil(radius))
    offset = np.arange(-reach, reach + 1)
    far = np.sqrt(offset[:, None] ** 2 + offset[None, :] ** 2)
    kernel: NDArray[np.float64] = np.clip(radius + 0.5 - far, 0, 1)
    return kernel


def streak(length: float, turn: float) -> NDArray[np.float64]:
    """The blur of a steady movement: a line of a length in pixels, `turn` half turns from the x axis."""
    reach = max(1, int(np.ceil(length / 2)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    cosine, sine = np.cos(np.pi * turn), np.sin(np.pi * turn)
    along, across = np.abs(x * cosine + y * sine), np.abs(y * cosine - x * sine)
    kernel: NDArray[np.float64] = np.clip(1 - across, 0, 1) * np.clip(length / 2 + 0.5 - along, 0, 1)
    return kernel

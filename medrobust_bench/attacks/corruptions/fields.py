"""Random fields, drawn from the raw bits of a generator.

numpy promises the raw bits of PCG64 for ever, but not what `Generator` makes of them (NEP 19), so every distribution
is made here: uniform numbers exactly, the others from them by formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import zoom
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform numbers inside (0, 1): odd multiples of 2⁻⁵⁴, so that neither end is ever drawn."""
    raw = np.asarray(rng.bit_generator.random_raw(int(np.prod(shape, dtype=np.int64))), dtype=np.uint64)
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54).reshape(shape)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """One uniform number between low and high."""
    return low + (high - low) * float(uniform(rng, (1,))[0])


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal numbers, by the inverse of the distribution function."""
    numbers: NDArray[np.float64] = ndtri(uniform(rng, shape))
    return numbers


def poisson(rng: np.random.Generator, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of a mean, by the Cornish-Fisher expansion of the Poisson quantile (to the skewness), not below zero.

    For a mean of 2 and more its mean and variance are those of the Poisson distribution within 2 %.
    """
    z = normal(rng, mean.shape)
    return np.maximum(np.floor(mean + np.sqrt(mean) * z + (z * z - 1) / 6 + 0.5), 0)


def cloud(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> NDArray[np.float64]:
    """A smooth field [H, W] between −1 and 1 with `cells` bumps to the longest side: a cubic spline of random knots."""
    longest = max(shape)
    knots = [max(2, round(cells * side / longest) + 1) for side in shape]
    coarse = 2 * uniform(rng, (knots[0], knots[1])) - 1
    fine = zoom(
        coarse, [side / knot for side, knot in zip(shape, knots, strict=True)], order=3, mode="nearest"
    )
    field: NDArray[np.float64] = np.clip(fine, -1, 1)
    return field

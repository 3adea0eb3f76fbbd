"""What microscopes, fundus cameras and dermatoscopes share: light, lenses and what lies on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.corruptions.levels import axes, blur, convolve, disc, longest, luminance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def out_of_focus(levels: NDArray[np.float64], amount: float) -> NDArray[np.float64]:
    """Levels [C, H, W] out of focus; the amount is the radius of the circle of confusion in % of the longest side.

    Light adds up, not levels: the blur works on levels to the power of 2.2 (the camera's display curve), so that bright
    points become discs.
    """
    light = (levels / 255) ** 2.2
    spread = convolve(light, disc(amount / 100 * longest(levels)))
    return 255 * np.maximum(spread, 0) ** (1 / 2.2)


def slope(shape: tuple[int, int], free: Sequence[float]) -> NDArray[np.float64]:
    """A plane rising from 0 to 1 over [H, W]; free: its direction."""
    y, x = axes(shape)
    turn = 2 * np.pi * free[0]
    plane = x * np.cos(turn) + y * np.sin(turn)
    rising: NDArray[np.float64] = (plane - plane.min()) / max(float(plane.max() - plane.min()), 1e-9)
    return rising


def aperture(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where [H, W] the camera sees anything: 0 in a black surround, 1 inside, with a soft edge."""
    side = longest(levels)
    lit = (luminance(blur(levels, max(1.5, side / 100))) > 24).astype(np.float64)
    return np.clip(2 * blur(lit, side / 120) - 0.7, 0, 1)

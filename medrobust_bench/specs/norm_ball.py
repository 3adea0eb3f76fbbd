"""Threats that may move every pixel within a norm ball."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from medrobust_bench.specs.exact import Positive, exact_text
from medrobust_bench.specs.threat import ThreatSpec

REFERENCE_SIDE = 32
"""L2 budgets are stated for an RGB image of 32 × 32 pixels, the size at which the literature quotes 0.5."""

CHANNELS = 3

Norm = Literal["linf", "l2"]

_SYMBOLS: dict[str, str] = {"linf": "L∞", "l2": "L2"}


class NormBallSpec(ThreatSpec):
    """A threat that may move every pixel within a norm ball around the clean canonical image.

    Attributes:
        norm: "linf" or "l2", over all 3·H·W values, pixels in [0, 1].
        eps: radius. In L2 it is stated for a 32 × 32 image and grows with the square root of the pixel count,
            so that it allows the same change per pixel at every size.
    """

    norm_ball: ClassVar[bool] = True

    norm: Norm
    eps: Positive

    @model_validator(mode="after")
    def _within_the_pixel_range(self) -> Self:
        if self.norm == "linf" and self.eps > 1:
            text = exact_text(self.eps)
            raise ValueError(f"eps {text} exceeds the pixel range [0, 1]; for grey levels write {text}/255")
        return self

    def radius(self, height: int, width: int) -> float:
        """Radius of the ball for an image of this size, pixels in [0, 1]."""
        if self.norm == "linf":
            return float(self.eps)
        return float(self.eps) * sqrt(height * width) / REFERENCE_SIDE

    @property
    def rms(self) -> float:
        """Largest root mean square change per pixel value, the same at every image size, pixels in [0, 1]."""
        return float(self.eps) / (1 if self.norm == "linf" else REFERENCE_SIDE * sqrt(CHANNELS))

    def _ball(self) -> str:
        size = "" if self.norm == "linf" else f" at 32×32, RMS {self.rms * 255:.2f}/255"
        return f"{_SYMBOLS[self.norm]} ε = {exact_text(self.eps)}{size}"

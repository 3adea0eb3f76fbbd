"""One square for all images."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from medrobust_bench.specs.exact import Exact, Positive, Share, count, exact_text
from medrobust_bench.specs.threat import ThreatSpec


class UniversalPatchSpec(ThreatSpec):
    """One square for all images, trained on the training split, laid at a random place with a random rotation.

    Attributes:
        area: share of the image that the square covers, to whole pixels.
        rotation: largest rotation either way, degrees.
        training: questions of the training split that it is trained on.
        epochs: how often it sees each of them.
        learning_rate: of Adam, pixels in [0, 1].
    """

    white_box: ClassVar[bool] = True
    trained: ClassVar[bool] = True

    kind: Literal["patch-universal"]
    area: Share
    rotation: Exact
    training: int = Field(ge=1)
    epochs: int = Field(ge=1)
    learning_rate: Positive

    @field_validator("rotation")
    @classmethod
    def _degrees(cls, rotation: Fraction) -> Fraction:
        if not 0 <= rotation <= 180:
            raise ValueError("rotation is in degrees, from 0 to 180")
        return rotation

    @property
    def summary(self) -> str:
        """The specification in one line."""
        square = f"one square of {float(self.area):.4g} of the area for all images"
        where = f"random place, rotated by up to {exact_text(self.rotation)}°"
        return f"{square}, {where}; trained on {self.training} other questions, {count(self.epochs, 'epoch')}"

"""Square Attack."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, field_validator

from medrobust_bench.specs.exact import Share, count
from medrobust_bench.specs.norm_ball import NormBallSpec


class SquareSpec(NormBallSpec):
    """Square Attack (Andriushchenko et al. 2020, arXiv:1912.00049): random search, no gradient.

    In L∞ only: ART's L2 form divides a change by the length that it should have, and ends in infinities.

    Attributes:
        queries: images tried after the first.
        restarts: runs.
        first_share: share of the image that the first squares cover (p in the paper).
    """

    kind: Literal["square"]
    norm: Literal["linf"]
    queries: int = Field(ge=1)
    restarts: int = Field(default=1, ge=1, le=1_000)
    first_share: Share = Fraction(4, 5)

    @field_validator("first_share")
    @classmethod
    def _part_of_the_image(cls, share: Fraction) -> Fraction:
        if share == 1:
            raise ValueError("first_share must be below 1")
        return share

    @property
    def needs_scores(self) -> bool:
        """It keeps a square that lowers the lead of the right option."""
        return True

    @property
    def summary(self) -> str:
        """The specification in one line."""
        return f"{self._ball()}; random search, {count(self.queries, 'query', 'queries')}, no gradient"

"""Random noise in the ball."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medrobust_bench.specs.exact import count
from medrobust_bench.specs.norm_ball import NormBallSpec


class NoiseSpec(NormBallSpec):
    """Random noise in the ball: a control that any working attack must beat (Carlini et al. 2019).

    Attributes:
        draws: how many are tried, the worst kept.
    """

    kind: Literal["noise"]
    draws: int = Field(ge=1)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        return f"{self._ball()}; worst of {count(self.draws, 'random draw')}, no gradient"

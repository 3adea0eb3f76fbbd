"""RayS."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medrobust_bench.specs.exact import count
from medrobust_bench.specs.norm_ball import NormBallSpec

GREY_LEVELS = 255


class RaysSpec(NormBallSpec):
    """RayS (Chen and Gu 2020, arXiv:2006.12792): a search for the nearest wrong answer, by answers alone.

    Attributes:
        queries: answers asked for, per question.
    """

    kind: Literal["rays"]
    norm: Literal["linf"]
    queries: int = Field(ge=2)

    @model_validator(mode="after")
    def _a_grey_level(self) -> Self:
        if self.levels < 1:
            raise ValueError("eps is below a grey level, 1/255: there is no other image in the ball")
        return self

    @property
    def levels(self) -> int:
        """Radius in whole grey levels: an 8-bit image moves no value further."""
        return int(self.eps * GREY_LEVELS)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        queries = count(self.queries, "query", "queries")
        return f"{self._ball()}; RayS, {queries}, by answers alone"

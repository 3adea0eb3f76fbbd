"""A square of arbitrary pixels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from medrobust_bench.specs.exact import Positive, Share, count, exact_text
from medrobust_bench.specs.gradient import with_step_size
from medrobust_bench.specs.threat import ThreatSpec


class PatchSpec(ThreatSpec):
    """A square of arbitrary pixels at one of several places drawn at random per question, found by PGD under a mask.

    Attributes:
        area: share of the image that the square may cover at most.
        places: how many places are tried, the worst kept.
        steps: gradient steps of one run.
        step_size: L∞ length of a step, pixels in [0, 1]; 2.5/steps unless given.
        restarts: runs, each from its own uniformly random content of the same square.
    """

    white_box: ClassVar[bool] = True

    kind: Literal["patch"]
    area: Share
    places: int = Field(default=1, ge=1, le=10_000)
    steps: int = Field(ge=1)
    step_size: Positive
    restarts: int = Field(default=1, ge=1, le=1_000)

    @model_validator(mode="before")
    @classmethod
    def _default_step_size(cls, fields: Any) -> Any:
        return with_step_size(fields, 1) if isinstance(fields, dict) else fields

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        places = "random place" if self.places == 1 else f"worst of {self.places} random places"
        square = f"square of {float(self.area):.4g} of the area, {places}, any content"
        return f"{square}; {count(self.steps, 'step')} of {step}, {count(self.restarts, 'random start')}"

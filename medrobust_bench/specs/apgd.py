"""Auto-PGD."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from medrobust_bench.specs.exact import count
from medrobust_bench.specs.gradient import Focus, Loss
from medrobust_bench.specs.norm_ball import NormBallSpec


class ApgdSpec(NormBallSpec):
    """Auto-PGD (Croce and Hein 2020, arXiv:2003.01690): momentum, and a step that starts at 2·eps and halves itself.

    Attributes:
        steps: gradient steps of one run.
        restarts: runs, each from its own uniformly random start in the ball.
        loss: as in `PgdSpec`.
        focus: as in `PgdSpec`.
    """

    white_box: ClassVar[bool] = True

    kind: Literal["apgd"]
    steps: int = Field(ge=2)
    restarts: int = Field(default=1, ge=1, le=1_000)
    loss: Loss = "cross-entropy"
    focus: Focus = "words"

    @property
    def summary(self) -> str:
        """The specification in one line."""
        starts = count(self.restarts, "random start")
        return f"{self._ball()}; Auto-PGD, {self.loss}, {count(self.steps, 'step')}, {starts}"

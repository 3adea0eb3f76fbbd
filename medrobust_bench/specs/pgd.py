"""Projected gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from medrobust_bench.specs.exact import Positive, count, exact_text
from medrobust_bench.specs.gradient import Focus, Loss, with_step_size
from medrobust_bench.specs.norm_ball import NormBallSpec


class PgdSpec(NormBallSpec):
    """Projected gradient descent (Madry et al. 2018).

    Attributes:
        steps: gradient steps of one run.
        step_size: length of a step in the norm, stated as `eps` is; 2.5·eps/steps unless given.
        restarts: runs, each from its own uniformly random start in the ball.
        loss: what is ascended, see `Loss`; a targeted loss makes one run per wrong option and restart.
        focus: where rival options are compared, see `Focus`.
    """

    white_box: ClassVar[bool] = True

    kind: Literal["pgd"]
    steps: int = Field(ge=1)
    step_size: Positive
    restarts: int = Field(default=1, ge=1, le=1_000)
    loss: Loss = "cross-entropy"
    focus: Focus = "words"

    @model_validator(mode="before")
    @classmethod
    def _default_step_size(cls, fields: Any) -> Any:
        return with_step_size(fields, fields.get("eps")) if isinstance(fields, dict) else fields

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        starts = count(self.restarts, "random start")
        return f"{self._ball()}; {self.loss}, {count(self.steps, 'step')} of {step}, {starts}"

"""Projected gradient descent."""

from __future__ import annotations

from math import cos, pi
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from medrobust_bench.specs.exact import Positive, count, exact_text
from medrobust_bench.specs.gradient import Focus, Loss, with_step_size
from medrobust_bench.specs.norm_ball import NormBallSpec

Schedule = Literal["constant", "cosine"]
"""How long the steps of a run are. "constant": all alike. "cosine": the first as long as stated, the others shorter and
shorter along half a cosine (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, equation 5, to zero)."""


class PgdSpec(NormBallSpec):
    """Projected gradient descent (Madry et al. 2018).

    Attributes:
        steps: gradient steps of one run.
        step_size: length of a step in the norm, stated as `eps` is; 2.5·eps/steps unless given.
        restarts: runs, each from its own uniformly random start in the ball.
        loss: what is ascended, see `Loss`; a targeted loss makes one run per wrong option and restart.
        focus: where rival options are compared, see `Focus`.
        schedule: how the length of the steps changes within a run, see `Schedule`.
    """

    white_box: ClassVar[bool] = True

    kind: Literal["pgd"]
    steps: int = Field(ge=1)
    step_size: Positive
    restarts: int = Field(default=1, ge=1, le=1_000)
    loss: Loss = "cross-entropy"
    focus: Focus = "words"
    schedule: Schedule = "constant"

    @model_validator(mode="before")
    @classmethod
    def _default_step_size(cls, fields: Any) -> Any:
        return with_step_size(fields, fields.get("eps")) if isinstance(fields, dict) else fields

    @model_serializer(mode="wrap")
    def _say_what_is_not_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Steps that are all alike go unmentioned, as in every result written before there was a choice."""
        fields: dict[str, Any] = handler(self)
        if self.schedule == "constant":
            fields.pop("schedule", None)
        return fields

    def step_shares(self) -> tuple[float, ...]:
        """The length of each step of a run, in `step_size`."""
        if self.schedule == "constant":
            return (1.0,) * self.steps
        return tuple((1 + cos(pi * done / self.steps)) / 2 for done in range(self.steps))

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        starts = count(self.restarts, "random start")
        length = f"of {step}" if self.schedule == "constant" else f"from {step} down a {self.schedule}"
        return f"{self._ball()}; {self.loss}, {count(self.steps, 'step')} {length}, {starts}"

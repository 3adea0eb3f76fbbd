"""The ensemble of attacks."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from medrobust_bench.specs.exact import Positive, count
from medrobust_bench.specs.norm_ball import NormBallSpec


class AutoSpec(NormBallSpec):
    """The worst case per question over PGD, Auto-PGD and Square, each on what the ones before left standing.

    The Auto-PGD losses are cross-entropy, margin, and targeted at each wrong option. A reasoning model meets the
    margin loss three times: at the words of the answer, at the letter, at the letter after a rationale of the attack.

    Attributes:
        pgd_steps: steps of the PGD that goes first.
        pgd_step_size: their length.
        steps: steps of each Auto-PGD.
        queries: images that Square tries; 0 in L2, where ART has no working Square.
        restarts: runs of each.
    """

    white_box: ClassVar[bool] = True
    ensemble: ClassVar[bool] = True

    kind: Literal["auto"]
    pgd_steps: int = Field(ge=1)
    pgd_step_size: Positive
    steps: int = Field(ge=2)
    queries: int = Field(ge=0)
    restarts: int = Field(default=1, ge=1, le=1_000)

    @model_validator(mode="after")
    def _square_in_linf_only(self) -> Self:
        if self.norm == "l2" and self.queries:
            raise ValueError("queries must be 0 in L2: ART's Square Attack works in L∞ only")
        return self

    @property
    def summary(self) -> str:
        """The specification in one line."""
        square = f", Square ({count(self.queries, 'query', 'queries')})" if self.queries else ""
        apgd = f"Auto-PGD (cross-entropy, margin, targeted; {count(self.steps, 'step')} each)"
        return f"{self._ball()}; worst of PGD ({count(self.pgd_steps, 'step')}), {apgd}{square}"

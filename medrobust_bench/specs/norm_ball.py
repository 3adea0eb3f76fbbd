"""Specifications of threats inside a norm ball, and what their losses are."""

from __future__ import annotations

from fractions import Fraction
from math import sqrt
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from medrobust_bench.specs.exact import Exact, exact_text, parse_exact
from medrobust_bench.specs.threat import ThreatSpec

REFERENCE_SIDE = 32
"""L2 budgets are stated for an RGB image of 32 × 32 pixels, the size at which the literature quotes 0.5."""

CHANNELS = 3

Norm = Literal["linf", "l2"]
Loss = Literal["cross-entropy", "margin", "targeted"]
"""What an attack ascends. All three work for 2 to 5 options (the DLR loss of AutoAttack needs four).

"cross-entropy": negative log-likelihood of the right answer; of the whole clean completion, where one is generated.
"margin": lead of the strongest wrong option over the right one.
"targeted": lead of one wrong option, each in turn, the most likely first.
"""

Focus = Literal["words", "letter", "resampled"]
"""Where a margin or targeted loss compares options in a generated completion (`medrobust_bench.models.adapter.Focus`);
without meaning for models that score options."""

_SYMBOLS: dict[str, str] = {"linf": "L∞", "l2": "L2"}


class BallSpec(ThreatSpec):
    """A threat that may move every pixel within a norm ball around the clean canonical image.

    Attributes:
        norm: "linf" or "l2", over all 3·H·W values, pixels in [0, 1].
        eps: radius. In L2 it is stated for a 32 × 32 image and grows with the square root of the pixel count,
            so that it allows the same change per pixel at every size.
    """

    norm: Norm
    eps: Exact

    @field_validator("eps")
    @classmethod
    def _positive(cls, eps: Fraction) -> Fraction:
        if eps <= 0:
            raise ValueError("eps must be positive")
        return eps

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


class PgdSpec(BallSpec):
    """Projected gradient descent (Madry et al. 2018).

    Attributes:
        steps: gradient steps of one run.
        step_size: length of a step in the norm, stated as `eps` is; 2.5·eps/steps unless given.
        restarts: runs, each from its own uniformly random start in the ball.
        loss: what is ascended, see `Loss`; a targeted loss makes one run per wrong option and restart.
        focus: where rival options are compared, see `Focus`.
    """

    kind: Literal["pgd"]
    steps: int = Field(ge=1)
    step_size: Exact
    restarts: int = Field(default=1, ge=1)
    loss: Loss = "cross-entropy"
    focus: Focus = "words"

    @model_validator(mode="before")
    @classmethod
    def _default_step_size(cls, fields: Any) -> Any:
        return with_step_size(fields, fields.get("eps")) if isinstance(fields, dict) else fields

    @field_validator("step_size")
    @classmethod
    def _forward(cls, step_size: Fraction) -> Fraction:
        return positive_step(step_size)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        starts = count(self.restarts, "random start")
        return f"{self._ball()}; {self.loss}, {count(self.steps, 'step')} of {step}, {starts}"


class NoiseSpec(BallSpec):
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


class ApgdSpec(BallSpec):
    """Auto-PGD (Croce and Hein 2020, arXiv:2003.01690): momentum, and a step that starts at 2·eps and halves itself.

    Attributes:
        steps: gradient steps of one run.
        restarts: runs, each from its own uniformly random start in the ball.
        loss: as in `PgdSpec`.
        focus: as in `PgdSpec`.
    """

    kind: Literal["apgd"]
    steps: int = Field(ge=2)
    restarts: int = Field(default=1, ge=1)
    loss: Loss = "cross-entropy"
    focus: Focus = "words"

    @property
    def summary(self) -> str:
        """The specification in one line."""
        starts = count(self.restarts, "random start")
        return f"{self._ball()}; Auto-PGD, {self.loss}, {count(self.steps, 'step')}, {starts}"


class SquareSpec(BallSpec):
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
    restarts: int = Field(default=1, ge=1)
    first_share: Exact = Fraction(4, 5)

    @field_validator("first_share")
    @classmethod
    def _share(cls, share: Fraction) -> Fraction:
        if not 0 < share < 1:
            raise ValueError("first_share is a share of the image, above 0 and below 1")
        return share

    @property
    def summary(self) -> str:
        """The specification in one line."""
        return f"{self._ball()}; random search, {count(self.queries, 'query', 'queries')}, no gradient"


class AutoSpec(BallSpec):
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

    kind: Literal["auto"]
    pgd_steps: int = Field(ge=1)
    pgd_step_size: Exact
    steps: int = Field(ge=2)
    queries: int = Field(ge=0)
    restarts: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _square_in_linf_only(self) -> Self:
        if self.norm == "l2" and self.queries:
            raise ValueError("queries must be 0 in L2: ART's Square Attack works in L∞ only")
        return self

    @field_validator("pgd_step_size")
    @classmethod
    def _forward(cls, step_size: Fraction) -> Fraction:
        return positive_step(step_size)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        square = f", Square ({count(self.queries, 'query', 'queries')})" if self.queries else ""
        apgd = f"Auto-PGD (cross-entropy, margin, targeted; {count(self.steps, 'step')} each)"
        return f"{self._ball()}; worst of PGD ({count(self.pgd_steps, 'step')}), {apgd}{square}"


def with_step_size(fields: dict[str, Any], eps: object) -> dict[str, Any]:
    """Fill in 2.5·eps/steps (Madry et al. 2018) so that the step taken is always written in the specification.

    Unusable values are left for the fields' own validation to report.
    """
    if fields.get("step_size") is not None:
        return fields
    try:
        return {**fields, "step_size": Fraction(5, 2) * parse_exact(eps) / parse_exact(fields.get("steps"))}
    except (ValueError, ZeroDivisionError):
        return {**fields, "step_size": Fraction(1)}


def positive_step(step_size: Fraction) -> Fraction:
    """A step that goes forward, or a ValueError."""
    if step_size <= 0:
        raise ValueError("step_size must be positive")
    return step_size


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"

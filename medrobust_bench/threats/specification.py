"""Threat specifications: what goes into a result, so that a number can be traced to exactly one setting."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import sqrt
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, field_validator, model_validator

from medrobust_bench.threats.exact import Exact, exact_text, parse_exact
from medrobust_bench.threats.threat import ThreatSpec

REFERENCE_SIDE = 32
"""L2 budgets are stated for an RGB image of 32 × 32 pixels, the size at which the literature quotes 0.5."""

CHANNELS = 3

Norm = Literal["linf", "l2"]
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
    """

    kind: Literal["pgd"]
    steps: int = Field(ge=1)
    step_size: Exact
    restarts: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _default_step_size(cls, fields: Any) -> Any:
        return _with_step_size(fields, fields.get("eps")) if isinstance(fields, dict) else fields

    @field_validator("step_size")
    @classmethod
    def _forward(cls, step_size: Fraction) -> Fraction:
        return _positive_step(step_size)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        return (
            f"{self._ball()}; {_count(self.steps, 'step')} of {step}, {_count(self.restarts, 'random start')}"
        )


class PatchSpec(ThreatSpec):
    """A square of arbitrary pixels, its place drawn at random per question, found by PGD under a mask.

    Attributes:
        area: share of the image that the square may cover at most.
        steps: gradient steps of one run.
        step_size: L∞ length of a step, pixels in [0, 1]; 2.5/steps unless given.
        restarts: runs, each from its own uniformly random content of the same square.
    """

    kind: Literal["patch"]
    area: Exact
    steps: int = Field(ge=1)
    step_size: Exact
    restarts: int = Field(default=1, ge=1)

    @field_validator("area")
    @classmethod
    def _share(cls, area: Fraction) -> Fraction:
        if not 0 < area <= 1:
            raise ValueError("area is a share of the image, above 0 and at most 1")
        return area

    @model_validator(mode="before")
    @classmethod
    def _default_step_size(cls, fields: Any) -> Any:
        return _with_step_size(fields, 1) if isinstance(fields, dict) else fields

    @field_validator("step_size")
    @classmethod
    def _forward(cls, step_size: Fraction) -> Fraction:
        return _positive_step(step_size)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        square = f"square of {float(self.area):.4g} of the area, random place, any content"
        return f"{square}; {_count(self.steps, 'step')} of {step}, {_count(self.restarts, 'random start')}"


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
        return f"{self._ball()}; worst of {_count(self.draws, 'random draw')}, no gradient"


class CertificationSpec(ThreatSpec):
    """L2 certification by randomized smoothing (Cohen et al. 2019), with sequential stopping.

    Attributes:
        sigma: standard deviation of the Gaussian noise, canonical pixels in [0, 1].
        n0: draws that select the candidate; 0: the candidate is the right answer, which is all that certified
            accuracy asks about, and costs nothing.
        n: draws that bound its probability, at most.
        looks: at how many numbers of draws, in a geometric series up to n, it may be decided; 1: at n, as in
            the paper. See `medrobust_bench.certify.sequential`.
        alpha: probability, per question, that the certificate is wrong.
        radii: L2 radii at which certified accuracy is reported, in the canonical image as it is (not rescaled
            with its size); draws end once all are decided.
        base: what is smoothed: "likelihood", the option of highest likelihood; or "generate", the deployed
            answer to the noisy image rounded to 8 bits.
    """

    kind: Literal["certification"]
    sigma: Exact
    n0: int = Field(ge=0)
    n: int = Field(ge=1)
    looks: int = Field(default=1, ge=1, le=100)
    alpha: Exact
    radii: tuple[Exact, ...] = Field(min_length=1)
    base: Literal["likelihood", "generate"] = "likelihood"

    @field_validator("sigma")
    @classmethod
    def _noisy(cls, sigma: Fraction) -> Fraction:
        if sigma <= 0:
            raise ValueError("sigma must be positive")
        return sigma

    @field_validator("alpha")
    @classmethod
    def _probability(cls, alpha: Fraction) -> Fraction:
        if not 0 < alpha < 1:
            raise ValueError("alpha is a probability, above 0 and below 1")
        return alpha

    @field_validator("radii")
    @classmethod
    def _ascending(cls, radii: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
        if radii[0] <= 0 or any(later <= earlier for earlier, later in pairwise(radii)):
            raise ValueError("radii must be positive and ascending")
        return radii

    @property
    def summary(self) -> str:
        """The specification in one line."""
        radii = ", ".join(exact_text(radius) for radius in self.radii)
        limit = "" if self.looks == 1 else "at most "
        draws = f"{limit}{f'{self.n0} + ' if self.n0 else ''}{self.n} draws, α = {exact_text(self.alpha)}"
        base = "" if self.base == "likelihood" else ", generated answers"
        return f"smoothing σ = {exact_text(self.sigma)}{base}, {draws}; certified L2 radii {radii}"


Specification = PgdSpec | PatchSpec | NoiseSpec | CertificationSpec

SPECIFICATION: TypeAdapter[Specification] = TypeAdapter(Annotated[Specification, Field(discriminator="kind")])
"""Validates a mapping into the specification of its `kind`."""


def _with_step_size(fields: dict[str, Any], eps: object) -> dict[str, Any]:
    """Fill in 2.5·eps/steps (Madry et al. 2018) so that the step taken is always written in the specification.

    Unusable values are left for the fields' own validation to report.
    """
    if fields.get("step_size") is not None:
        return fields
    try:
        return {**fields, "step_size": Fraction(5, 2) * parse_exact(eps) / parse_exact(fields.get("steps"))}
    except (ValueError, ZeroDivisionError):
        return {**fields, "step_size": Fraction(1)}


def _positive_step(step_size: Fraction) -> Fraction:
    if step_size <= 0:
        raise ValueError("step_size must be positive")
    return step_size


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""Threat specifications: what goes into a result, so that a number can be traced to exactly one setting."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator

from medrobust_bench.specs.exact import Exact, exact_text
from medrobust_bench.specs.norm_ball import (
    ApgdSpec,
    AutoSpec,
    NoiseSpec,
    PgdSpec,
    SquareSpec,
    count,
    positive_step,
    with_step_size,
)
from medrobust_bench.specs.threat import ThreatSpec

if TYPE_CHECKING:
    from fractions import Fraction


class PatchSpec(ThreatSpec):
    """A square of arbitrary pixels at one of several places drawn at random per question, found by PGD under a mask.

    Attributes:
        area: share of the image that the square may cover at most.
        places: how many places are tried, the worst kept.
        steps: gradient steps of one run.
        step_size: L∞ length of a step, pixels in [0, 1]; 2.5/steps unless given.
        restarts: runs, each from its own uniformly random content of the same square.
    """

    kind: Literal["patch"]
    area: Exact
    places: int = Field(default=1, ge=1, le=10_000)
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
        return with_step_size(fields, 1) if isinstance(fields, dict) else fields

    @field_validator("step_size")
    @classmethod
    def _forward(cls, step_size: Fraction) -> Fraction:
        return positive_step(step_size)

    @property
    def summary(self) -> str:
        """The specification in one line."""
        step = exact_text(self.step_size)
        places = "random place" if self.places == 1 else f"worst of {self.places} random places"
        square = f"square of {float(self.area):.4g} of the area, {places}, any content"
        return f"{square}; {count(self.steps, 'step')} of {step}, {count(self.restarts, 'random start')}"


class UniversalPatchSpec(ThreatSpec):
    """One square for all images, trained on the training split, laid at a random place with a random rotation.

    Attributes:
        area: share of the image that the square covers, to whole pixels.
        rotation: largest rotation either way, degrees.
        training: questions of the training split that it is trained on.
        epochs: how often it sees each of them.
        learning_rate: of Adam, pixels in [0, 1].
    """

    kind: Literal["patch-universal"]
    area: Exact
    rotation: Exact
    training: int = Field(ge=1)
    epochs: int = Field(ge=1)
    learning_rate: Exact

    @field_validator("area")
    @classmethod
    def _share(cls, area: Fraction) -> Fraction:
        if not 0 < area <= 1:
            raise ValueError("area is a share of the image, above 0 and at most 1")
        return area

    @field_validator("rotation")
    @classmethod
    def _degrees(cls, rotation: Fraction) -> Fraction:
        if not 0 <= rotation <= 180:
            raise ValueError("rotation is in degrees, from 0 to 180")
        return rotation

    @field_validator("learning_rate")
    @classmethod
    def _forward(cls, learning_rate: Fraction) -> Fraction:
        if learning_rate <= 0:
            raise ValueError("learning_rate must be positive")
        return learning_rate

    @property
    def summary(self) -> str:
        """The specification in one line."""
        square = f"one square of {float(self.area):.4g} of the area for all images"
        where = f"random place, rotated by up to {exact_text(self.rotation)}°"
        return f"{square}, {where}; trained on {self.training} other questions, {count(self.epochs, 'epoch')}"


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
    n0: int = Field(ge=0, le=10**9)
    n: int = Field(ge=1, le=10**9)
    looks: int = Field(default=1, ge=1, le=100)
    alpha: Exact
    radii: tuple[Exact, ...] = Field(min_length=1, max_length=100)
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


Specification = (
    PgdSpec
    | ApgdSpec
    | SquareSpec
    | AutoSpec
    | PatchSpec
    | UniversalPatchSpec
    | NoiseSpec
    | CertificationSpec
)

SPECIFICATION: TypeAdapter[Specification] = TypeAdapter(Annotated[Specification, Field(discriminator="kind")])
"""Validates a mapping into the specification of its `kind`."""

"""L2 certification by randomized smoothing."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from medrobust_bench.specs.exact import Exact, Positive, exact_text
from medrobust_bench.specs.threat import ThreatSpec, Yields


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

    yields: ClassVar[Yields] = "certified"

    kind: Literal["certification"]
    sigma: Positive
    n0: int = Field(ge=0, le=10**9)
    n: int = Field(ge=1, le=10**9)
    looks: int = Field(default=1, ge=1, le=100)
    alpha: Exact
    radii: tuple[Exact, ...] = Field(min_length=1, max_length=100)
    base: Literal["likelihood", "generate"] = "likelihood"

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
    def needs_scores(self) -> bool:
        """Where it smooths the option of highest likelihood; where it counts answers, not."""
        return self.base == "likelihood"

    @property
    def summary(self) -> str:
        """The specification in one line."""
        radii = ", ".join(exact_text(radius) for radius in self.radii)
        limit = "" if self.looks == 1 else "at most "
        draws = f"{limit}{f'{self.n0} + ' if self.n0 else ''}{self.n} draws, α = {exact_text(self.alpha)}"
        base = "" if self.base == "likelihood" else ", generated answers"
        return f"smoothing σ = {exact_text(self.sigma)}{base}, {draws}; certified L2 radii {radii}"

"""Certificates: what a certification claims about one question, with all that is needed to recompute it.

Nothing here needs the model, the image or torch: a stranger holds the radius against the counts.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from scipy.stats import beta, norm

from medrobust_bench.records import Record

Count = Annotated[int, Field(ge=-(10**9), le=10**9)]
"""Of draws: a number that can be computed with. That it is right is checked later."""


class Look(Record):
    """The counts at one of the planned looks."""

    model_config = ConfigDict(allow_inf_nan=False)

    n: Count = Field(ge=1, description="Estimation draws so far")
    alpha: float = Field(ge=0, lt=1, description="Share of the failure probability spent at this look")
    counts: tuple[Count, ...] = Field(
        description="Answers in these draws, per option and, last, unparsable or not finite"
    )


class Certificate(Record):
    """A certified answer, or an abstention, with all that is needed to recompute it.

    Guarantee: with probability at least 1 − alpha over the draws, the smoothed model gives `prediction` at every
    image closer than `radius` (see `medrobust_bench.certify.sequential`).
    """

    model_config = ConfigDict(allow_inf_nan=False)

    prediction: int | None = Field(description="Index of the option; null: nothing is certified (wrong)")
    radius: float = Field(
        ge=0,
        description="Radius of the open L2 ball in which the prediction holds, over all 3·H·W values of the "
        "canonical image, pixels in [0, 1]; 0: nothing is certified",
    )
    candidate: int = Field(
        ge=0,
        description="Whose probability is bounded: the most frequent answer of the selection draws, or, where there "
        "are none, the right answer. The number of options stands for unparsable",
    )
    selection_counts: tuple[Count, ...] = Field(
        description="Answers in the n0 selection draws, per option and, last, unparsable; empty without selection"
    )
    looks: tuple[Look, ...] = Field(
        min_length=1, description="The looks taken, in order; counts include those of earlier looks"
    )
    n0: Count = Field(ge=0, description="Selection draws; 0: the candidate is the right answer")
    n: Count = Field(
        ge=1, description="Estimation draws at which the certification would have ended at the latest"
    )
    alpha: float = Field(gt=0, lt=1, description="Probability that the certificate is wrong, over all looks")
    sigma: float = Field(gt=0, description="Standard deviation of the noise, pixels in [0, 1]")
    base: Literal["likelihood", "generate"] = Field(
        description="What is smoothed: the option of highest likelihood, or the deployed answer to the noisy "
        "image rounded to 8 bits"
    )
    seed: int = Field(ge=0, description="Of the question; any draw can be repeated from it alone")
    height: int = Field(ge=1, description="Of the canonical image that the radius refers to")
    width: int = Field(ge=1, description="Of the same image")

    @property
    def draws(self) -> int:
        """Passes through the base classifier: selection and estimation draws taken."""
        return self.n0 + self.looks[-1].n

    @property
    def estimation_counts(self) -> tuple[int, ...]:
        """The counts of all estimation draws taken."""
        return self.looks[-1].counts

    @property
    def rms_radius(self) -> float:
        """The radius as a root mean square change per value, comparable between image sizes, pixels in [0, 1]."""
        return self.radius / sqrt(3 * self.height * self.width)

    def certifies(self, answer: int, radius: float) -> bool:
        """Whether the smoothed model provably gives this answer at every image closer than `radius`."""
        return self.prediction == answer and self.radius >= radius

    def recomputed_radius(self) -> float:
        """What `radius` must be, from the counts alone."""
        if self.candidate >= len(self.looks[0].counts) - 1:
            return 0.0
        return max(
            certified_radius(look.counts[self.candidate], look.n, alpha=look.alpha, sigma=self.sigma)
            for look in self.looks
        )


def lower_confidence_bound(successes: int, trials: int, alpha: float) -> float:
    """One-sided Clopper–Pearson bound: with probability at least 1 − alpha not above the true probability.

    0 where alpha is 0 (nothing is spent, nothing is claimed).
    """
    return 0.0 if successes == 0 or alpha == 0 else float(beta.ppf(alpha, successes, trials - successes + 1))


def certified_radius(successes: int, trials: int, *, alpha: float, sigma: float) -> float:
    """σ·Φ⁻¹ of the lower confidence bound; 0 where the bound does not exceed one half."""
    bound = lower_confidence_bound(successes, trials, alpha)
    return sigma * float(norm.ppf(bound)) if bound > 0.5 else 0.0

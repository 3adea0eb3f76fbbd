"""A gate on robustness: has accuracy fallen by more than is tolerated?

Three answers are possible. *Regressed*: a fall by more than the margin is shown. *Holds*: a fall by the margin or
more is excluded (non-inferiority). *Undecided*: the sample is too small for either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from statsmodels.stats.multitest import multipletests

from medrobust_bench.records import Record
from medrobust_bench.reports.paired import drop_p_value, no_drop_p_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.reports.comparison import Comparison, Difference

Verdict = Literal["regressed", "holds", "undecided"]


class Judgement(Record):
    """The gate's verdict on one accuracy of one pair of models."""

    baseline: str
    model: str
    data: str = Field(description="Name of the data set")
    threat: str
    name: str
    verdict: Verdict
    p_regressed: float = Field(
        description='Of "fell by at most the margin", corrected by Holm for everything that the gate looks at'
    )
    p_holds: float = Field(description='Of "fell by the margin or more", uncorrected')


class Gate(Record):
    """The verdict on a comparison.

    The probability that any accuracy is called regressed although none fell by more than the margin is at most
    `alpha`; approximately so where several questions share an image and large images fare otherwise than small ones.
    """

    margin: float = Field(ge=0, lt=1)
    alpha: float = Field(gt=0, lt=1)
    strict: bool = Field(description="Whether undecided counts as failed")
    judgements: tuple[Judgement, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing regressed (and, where strict, nothing is left undecided)."""
        allowed = {"holds"} if self.strict else {"holds", "undecided"}
        return all(judgement.verdict in allowed for judgement in self.judgements)


def judge(
    comparisons: Sequence[Comparison], *, margin: float, alpha: float = 0.05, strict: bool = False
) -> Gate:
    """Judge every accuracy of every pair of models.

    Args:
        comparisons: at least one.
        margin: tolerated fall in accuracy, 0 to 1; 0.02 tolerates two points.
        alpha: probability of a false alarm in the whole gate.
        strict: fail also where the sample is too small to exclude such a fall.
    """
    measured = [(one, measure) for one in comparisons for measure in one.measures]
    raw = [_p_regressed(measure.whole, margin) for _comparison, measure in measured]
    corrected = multipletests(raw, method="holm")[1]
    judgements = []
    for (comparison, measure), p_value in zip(measured, corrected, strict=True):
        p_holds = _p_holds(measure.whole, margin)
        verdict: Verdict = "undecided"
        if p_value <= alpha:
            verdict = "regressed"
        elif p_holds <= alpha:
            verdict = "holds"
        judgements.append(
            Judgement(
                baseline=comparison.baseline.id,
                model=comparison.current.id,
                data=comparison.data.name,
                threat=measure.threat,
                name=measure.name,
                verdict=verdict,
                p_regressed=float(p_value),
                p_holds=p_holds,
            )
        )
    return Gate(margin=margin, alpha=alpha, strict=strict, judgements=tuple(judgements))


def _p_regressed(difference: Difference, margin: float) -> float:
    # A fall by more than the margin is a fall: the exact test, which knows no approximation, must agree. Half of its
    # two-sided p-value is the one-sided one wherever there is a fall.
    score = float(drop_p_value(*_effective(difference), margin=margin))
    exact = difference.p_value / 2 if difference.lost > difference.gained else 1.0
    return max(score, exact)


def _p_holds(difference: Difference, margin: float) -> float:
    return float(no_drop_p_value(*_effective(difference), margin=margin))


def _effective(difference: Difference) -> tuple[float, float, float]:
    """Lost, gained and all questions, divided by the design effect."""
    effect = difference.design_effect
    return difference.lost / effect, difference.gained / effect, difference.n / effect

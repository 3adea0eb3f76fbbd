"""Specifications of attacks that ascend a loss by its gradient: what they ascend, and how long their steps are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from medrobust_bench.specs.exact import parse_exact

Loss = Literal["cross-entropy", "margin", "targeted"]
"""What an attack ascends. All three work for 2 to 5 options (the DLR loss of AutoAttack needs four).

"cross-entropy": negative log-likelihood of the right answer; of the whole clean completion, where one is generated.
"margin": lead of the strongest wrong option over the right one.
"targeted": lead of one wrong option, each in turn, the most likely first.
"""

Focus = Literal["words", "letter", "resampled"]
"""Where a margin or targeted loss compares options in a generated completion (`medrobust_bench.models.adapter.Focus`);
without meaning for models that score options."""


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

"""Attack success rate: the share of the right answers that an attack breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.records.intervals import proportion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Estimate, Outcome
    from medrobust_bench.specs.threat import ThreatSpec


def attack_success(outcomes: Sequence[Outcome], threat: ThreatSpec) -> Estimate | None:
    """Broken answers among those that were right on the clean image; None where nothing was attacked."""
    attacked = [outcome for outcome in outcomes if outcome.attacked]
    if not attacked:
        return None
    return proportion([not outcome.correct for outcome in attacked], attacked)

"""The worst case over the attacks of a run, question by question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.specs.threat import WorstCaseSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Outcome
    from medrobust_bench.specs.threat import ThreatSpec


def worst_case(
    threats: Sequence[ThreatSpec], outcomes: Mapping[str, Sequence[Outcome]]
) -> tuple[WorstCaseSpec, list[Outcome]] | None:
    """What is left when every attack of a run may be tried on every question.

    Args:
        threats: of the run.
        outcomes: of one model, by threat name, in the order of the data set.

    Returns:
        A threat that names its members, and one outcome per question: the first member's that broke the answer, else
        the first member's, with the costs of all. None with fewer than two attacks.
    """
    attacks = [threat.name for threat in threats if threat.yields == "robust"]
    if len(attacks) < 2:
        return None
    by_question = zip(*(outcomes[name] for name in attacks), strict=True)
    return WorstCaseSpec(threats=tuple(attacks)), [_worst(tried) for tried in by_question]


def _worst(tried: Sequence[Outcome]) -> Outcome:
    shown = next((outcome for outcome in tried if not outcome.correct), tried[0])
    return shown.model_copy(
        update={
            "threat": "worst-case",
            "rounded_away": shown.correct and any(outcome.rounded_away for outcome in tried),
            "forward_passes": sum(outcome.forward_passes for outcome in tried),
            "backward_passes": sum(outcome.backward_passes for outcome in tried),
            "seconds": sum(outcome.seconds for outcome in tried),
        }
    )

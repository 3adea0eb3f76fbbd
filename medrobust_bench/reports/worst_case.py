"""The worst case over the threats of a family, question by question."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medrobust_bench.specs.threat import ThreatSpec, WorstCaseSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Failure, Outcome


def worst_cases(
    threats: Sequence[ThreatSpec], outcomes: Mapping[str, Sequence[Outcome]]
) -> list[tuple[WorstCaseSpec, list[Outcome]]]:
    """What is left when every threat of a family may be tried on every question: attacks, corruptions, injected text.

    Args:
        threats: of the run.
        outcomes: of one model, by threat name, in the order of the data set.

    Returns:
        Per family with two or more adversaries a threat that names its members, and one outcome per question: the
        first member's that broke the answer, else the first member's, with the costs of all. A question that failed
        under a member has none.
    """
    families: dict[str, list[str]] = {}
    for threat in threats:
        if threat.yields == "robust":
            families.setdefault(threat.family, []).append(threat.name)
    found = []
    for family, members in families.items():
        if len(members) < 2:
            continue
        name = "worst-case" if family == ThreatSpec.family else f"worst-case-{family}"
        first, *others = ({outcome.question: outcome for outcome in outcomes[member]} for member in members)
        by_question = [
            (outcome, *(other[question] for other in others))
            for question, outcome in first.items()
            if all(question in other for other in others)  # one that failed has no worst case
        ]
        spec = WorstCaseSpec(name=name, threats=tuple(members))
        found.append((spec, [_worst(name, tried) for tried in by_question]))
    return found


def failed_under(threat: ThreatSpec, failures: Sequence[Failure]) -> dict[str, int]:
    """Questions that came to no outcome under a threat, or any member of a worst case, by kind of fault.

    Args:
        threat: of a run.
        failures: of one model.
    """
    members = threat.threats if isinstance(threat, WorstCaseSpec) else (threat.name,)
    by_question: dict[str, str] = {}
    for failure in failures:
        if failure.threat in members:
            by_question.setdefault(failure.question, failure.error)
    return dict(sorted(Counter(by_question.values()).items()))


def _worst(name: str, tried: Sequence[Outcome]) -> Outcome:
    shown = next((outcome for outcome in tried if not outcome.correct), tried[0])
    return shown.model_copy(
        update={
            "threat": name,
            "rounded_away": shown.correct and any(outcome.rounded_away for outcome in tried),
            "forward_passes": sum(outcome.forward_passes for outcome in tried),
            "backward_passes": sum(outcome.backward_passes for outcome in tried),
            "seconds": sum(outcome.seconds for outcome in tried),
        }
    )

"""The threat of a submission."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from medrobust_bench.attacks.threat import Threat
from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.names import boasts, skeleton
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.runs.threats import open_threat
from medrobust_bench.specs.registry import load_specification, official_threats

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.case import Claim
    from medrobust_bench.specs.threat import ThreatSpec

RESERVED = ("clean", "worst-case", "worst-case-corruption", "worst-case-injection")
"""Names and kinds of what is no threat of its own."""


def normal_text(threat: ThreatSpec) -> str:
    """Equal for results under the same specification, however its numbers were written."""
    return json.dumps(threat.model_dump(mode="json"), sort_keys=True)


def attack_of(threat: ThreatSpec) -> Threat | None:
    """The attack that carries a specification out; None where nobody searches."""
    if threat.kind in RESERVED:
        return None
    opened = open_threat(threat)
    return opened if isinstance(opened, Threat) else None


def official_name(claim: Claim) -> list[Fault]:
    """The threat's specification is exactly what its name stands for."""
    specification = claim.entry.result.threat
    if specification.name in RESERVED or specification.kind in RESERVED:
        return [Fault("threat", f"{specification.name} is not the name of an attack")]
    official = {one.name for one in official_threats()}
    if specification.name.partition(":")[0] not in official:
        alike = {skeleton(name): name for name in official}.get(skeleton(specification.name))
        if boast := boasts(specification.name):
            return [Fault("threat", f"{specification.name} says {boast!r}, which is not for a name to say")]
        what = f"{specification.name} would be taken for {alike}"
        return [] if alike is None else [Fault("threat", what)]
    try:
        meant = load_specification(specification.name)
    except InvalidInputError as error:
        return [Fault("threat", f"its name stands for nothing: {error.problems[0].what}")]
    before, after = meant.model_dump(mode="json"), specification.model_dump(mode="json")
    return [
        Fault("threat", f"{field} is {after.get(field)}, {specification.name} means {before.get(field)}")
        for field in dict.fromkeys((*before, *after))
        if before.get(field) != after.get(field)
    ]

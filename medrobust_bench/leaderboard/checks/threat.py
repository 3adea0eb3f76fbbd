"""The threat of a submission."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.names import skeleton
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.registry import load_specification, official_threats

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.case import Claim
    from medrobust_bench.specs.threat import ThreatSpec

RESERVED = ("clean", "worst-case")
"""What is no threat of its own."""


def normal_text(threat: ThreatSpec) -> str:
    """Equal for equal specifications."""
    return json.dumps(threat.model_dump(mode="json"), sort_keys=True)


def official_name(claim: Claim) -> list[Fault]:
    """The threat's specification is exactly what its name stands for, and its fields are in normal form."""
    specification = claim.entry.result.threat
    normal, given = specification.model_dump(mode="json"), claim.written("result", "threat")
    if json.dumps(given, sort_keys=True) != json.dumps(normal, sort_keys=True):
        changed = [name for name in normal if repr(given.get(name)) != repr(normal[name])]
        return [
            Fault(
                "form", f"threat.{name} is written {given.get(name)!r}, its normal form is {normal[name]!r}"
            )
            for name in changed
        ]
    official = {one.name for one in official_threats()}
    if specification.name in RESERVED:
        return [Fault("threat", f"{specification.name} is not the name of an attack")]
    if specification.name.partition(":")[0] not in official:
        alike = {skeleton(name): name for name in official}.get(skeleton(specification.name))
        what = f"{specification.name} would be taken for {alike}"
        return [] if alike is None else [Fault("threat", what)]
    try:
        meant = load_specification(specification.name)
    except InvalidInputError as error:
        return [Fault("threat", f"its name stands for nothing: {error.problems[0].what}")]
    before = meant.model_dump(mode="json")
    return [
        Fault("threat", f"{field} is {normal.get(field)}, {specification.name} means {before.get(field)}")
        for field in dict.fromkeys((*before, *normal))
        if before.get(field) != normal.get(field)
    ]

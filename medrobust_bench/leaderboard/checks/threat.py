"""The threat of a submission."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.names import skeleton
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.registry import load_specification, official_threats
from medrobust_bench.specs.specification import SPECIFICATION

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.case import Claim
    from medrobust_bench.records import ThreatRecord
    from medrobust_bench.specs.specification import Specification

RESERVED = ("clean", "worst-case")
"""What is no threat of its own."""


def specification_of(threat: ThreatRecord) -> Specification:
    """The specification that a result names.

    Raises:
        ValidationError: it is none.
    """
    return SPECIFICATION.validate_python(threat.model_dump(mode="json"))


def normal_text(threat: ThreatRecord) -> str:
    """Equal for results under the same specification, however its numbers were written."""
    try:
        fields = specification_of(threat).model_dump(mode="json")
    except ValidationError:  # of a threat that this program does not know
        fields = threat.model_dump(mode="json")
    return json.dumps(fields, sort_keys=True)


def official_name(claim: Claim) -> list[Fault]:
    """The threat's specification is exactly what its name stands for, and its fields are in normal form."""
    threat = claim.entry.result.threat
    try:
        specification = specification_of(threat)
    except ValidationError as error:
        return [Fault("threat", f"is no specification: {error.errors()[0]['msg']}")]
    normal, given = specification.model_dump(mode="json"), threat.model_dump(mode="json")
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

"""From a specification to what carries it out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.attacks.threat import Threat
from medrobust_bench.specs.kinds import plugged_in
from medrobust_bench.specs.registry import load_specification

if TYPE_CHECKING:
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.specs.threat import ThreatSpec

_CARRIED_OUT_BY = {
    "pgd": "attacks.pgd:Pgd",
    "apgd": "attacks.apgd:Apgd",
    "square": "attacks.square:Square",
    "rays": "attacks.rays:Rays",
    "auto": "attacks.auto:Auto",
    "patch": "attacks.patch:Patch",
    "patch-universal": "attacks.universal_patch:UniversalPatch",
    "noise": "attacks.noise:Noise",
    "corruption": "attacks.corruption:CorruptionsByChance",
    "corruption-suite": "attacks.corruption:CorruptionsByChance",
    "corruption-worst": "attacks.corruption:WorstCorruption",
    "injection": "attacks.injection:Injection",
    "certification": "certify.cohen:Certification",
}
"""By kind; imported when one is opened, since it needs torch and the toolbox."""


def open_threat(specification: ThreatSpec) -> Threat | AlteringThreat | Certification:
    """The threat or certification that carries a specification out; imports torch."""
    plugin = plugged_in(specification.kind)
    if plugin is not None:
        threat: Threat | AlteringThreat | Certification = plugin(specification)
        return threat
    module, _, name = _CARRIED_OUT_BY[specification.kind].partition(":")
    threat = getattr(import_module(f"medrobust_bench.{module}"), name)(specification)
    return threat


def open_attack(specification: ThreatSpec) -> Threat:
    """The adversary that carries a specification out; see `open_threat`.

    Raises:
        TypeError: it is that of a certification, against which nobody searches.
    """
    threat = open_threat(specification)
    if not isinstance(threat, Threat):
        raise TypeError(
            f"{specification.name} is carried out by {type(threat).__name__}, which searches for nothing"
        )
    return threat


def open_altering(specification: ThreatSpec) -> AlteringThreat:
    """What carries out a specification whose images can be made again; see `open_threat`.

    Raises:
        TypeError: its images cannot be made again.
    """
    threat = open_threat(specification)
    if not isinstance(threat, AlteringThreat):
        raise TypeError(
            f"{specification.name} is carried out by {type(threat).__name__}, which remakes nothing"
        )
    return threat


def load_threat(text: str) -> Threat | AlteringThreat | Certification:
    """The threat or certification of a text that `load_specification` understands.

    Raises:
        InvalidInputError: as `load_specification`.
    """
    return open_threat(load_specification(text))

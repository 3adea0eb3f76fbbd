"""Variations of an attack: the same with more steps, another size, a single step, another loss, no gradient."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING, Any

from medrobust_bench.runs.threats import open_threat
from medrobust_bench.specs.noise import NoiseSpec
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.specs.square import SquareSpec

if TYPE_CHECKING:
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.specs.norm_ball import NormBallSpec

NOISE_DRAWS = 20
SQUARE_QUERIES = 200
_STEPS = ("steps", "pgd_steps", "queries")
_STEP_SIZES = ("step_size", "pgd_step_size")


def varied(threat: Threat, **changes: Any) -> Threat:
    """The attack with some fields of its specification changed; the class stays."""
    fields = {**dict(threat.spec), **changes}
    variation: Threat = type(threat)(type(threat.spec)(**fields))  # type: ignore[call-arg]
    return variation


def longer(threat: Threat, factor: int = 2) -> Threat:
    """With more steps of the same length."""
    fields = dict(threat.spec)
    return varied(threat, **{name: factor * fields[name] for name in _STEPS if name in fields})


def resized(threat: Threat, factor: Fraction) -> Threat:
    """With another ε, at most the pixel range, and steps in proportion."""
    fields = dict(threat.spec)
    eps = fields["eps"] * factor
    if fields["norm"] == "linf":
        eps = min(eps, Fraction(1))
    sizes = {name: fields[name] * eps / fields["eps"] for name in _STEP_SIZES if fields.get(name)}
    return varied(threat, eps=eps, **sizes)


def unbounded(threat: Threat) -> Threat:
    """With a ball that holds every image; in L2 √(3·32²), stated as ε is."""
    fields = dict(threat.spec)
    everything = Fraction(1) if fields["norm"] == "linf" else Fraction(isqrt(3 * 32**2) + 1)
    return resized(threat, everything / fields["eps"])


def single_step(spec: NormBallSpec) -> Threat:
    """One step of the length of the ball (Goodfellow et al. 2015)."""
    return _built(PgdSpec(**_ball(spec), kind="pgd", steps=1, step_size=spec.eps))


def margin(spec: NormBallSpec) -> Threat:
    """PGD on the margin instead of the cross-entropy, 20 steps."""
    return _built(PgdSpec(**_ball(spec), kind="pgd", steps=20, step_size=spec.eps / 4, loss="margin"))


def noise(spec: NormBallSpec) -> Threat:
    """Random noise of the same size."""
    return _built(NoiseSpec(**_ball(spec), kind="noise", draws=NOISE_DRAWS))


def square(spec: NormBallSpec) -> Threat:
    """Square Attack of the same size; in L∞ only."""
    return _built(SquareSpec(**_ball(spec), kind="square", queries=SQUARE_QUERIES))


def _ball(spec: NormBallSpec) -> dict[str, Any]:
    return {"name": spec.name, "norm": spec.norm, "eps": spec.eps}


def _built(spec: PgdSpec | NoiseSpec | SquareSpec) -> Threat:
    threat: Threat = open_threat(spec)  # type: ignore[assignment]
    return threat

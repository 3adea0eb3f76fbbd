"""Certificates of several submissions held against each other, and against attacks on what they certify."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.certify.certificate import Certificate
from medrobust_bench.certify.contradiction import l2_distance
from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.checks.witnesses import witness_images
from medrobust_bench.leaderboard.neighbour import TOLERANCE
from medrobust_bench.specs.certification import CertificationSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.certify.certificate import Look
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.neighbour import Neighbour
    from medrobust_bench.records import Outcome

FEWEST_COUNTS = 10
"""So many certificates with the same counts of several answers do not come about by chance."""


def copied_counts(case: Case, other: Neighbour) -> list[Fault]:
    """Certificates that another model's submission holds as well, draw for draw."""
    own, theirs = _counts(case.proof.threat), _counts(other.proof.threat)
    if len(own) >= FEWEST_COUNTS and own == theirs:
        return [Fault("neighbours", f"holds the counts of {other.name}, draw for draw")]
    return []


def other_draws(case: Case, other: Neighbour) -> list[Fault]:
    """Certifications of one model with one noise count the same draws: the longer one begins with the shorter."""
    own, theirs = case.specification, other.entry.result.threat
    if not isinstance(own, CertificationSpec) or not isinstance(theirs, CertificationSpec):
        return []
    if (own.sigma, own.base) != (theirs.sigma, theirs.base):
        return []
    mine, others = _certificates(case.proof.threat), _certificates(other.proof.threat)
    shared = sorted(mine.keys() & others.keys())
    differing = [name for name in shared if not _one_sequence(mine[name].looks, others[name].looks)]
    if len(differing) <= TOLERANCE * len(shared):
        return []
    return [Fault("neighbours", f"its draws are not those of {other.name}: {some(differing)}")]


def _one_sequence(one: Sequence[Look], other: Sequence[Look]) -> bool:
    """Whether counts at two lists of looks can be of one sequence of draws, near ties on two machines aside."""
    for short, long in ((a, b) if a.n <= b.n else (b, a) for a in one for b in other):
        more = sum(max(0, before - after) for before, after in zip(short.counts, long.counts, strict=False))
        if len(short.counts) != len(long.counts) or more > max(1, short.n // 50):
            return False
    return True


def inside_certified(case: Case, other: Neighbour) -> list[Fault]:
    """No attack on a smoothed model breaks it inside the ball that is certified for it; looked at from both sides."""
    pairs = (
        (case.entry.result, case.proof, other.entry.result, other.proof),
        (other.entry.result, other.proof, case.entry.result, case.proof),
    )
    faults = []
    for certified, certificates, attacked, proof in pairs:
        threat, smoothing = certified.threat, attacked.model.smoothing
        if (
            isinstance(threat, CertificationSpec)
            and smoothing is not None
            and certified.model.weights_sha256 == attacked.model.weights_sha256 is not None
            and (smoothing.sigma, smoothing.base) == (float(threat.sigma), threat.base)
            and certified.data.digest == attacked.data.digest
        ):
            radii = _certificates(certificates.threat)
            inside = [
                name
                for name, image in witness_images(case, proof).items()
                if name in radii and l2_distance(case.images[name], image) < radii[name].radius
            ]
            if len(inside) > TOLERANCE * len(radii):
                what = f"certified up to a distance within which {other.name} and this one are broken"
                faults.append(Fault("neighbours", f"{what}: {some(inside)}"))
    return faults


def _certificates(outcomes: Sequence[Outcome]) -> dict[str, Certificate]:
    """The certificates among outcomes by question, those that are some."""
    found = {}
    for outcome in outcomes:
        with suppress(ValidationError):
            found[outcome.question] = Certificate.model_validate(outcome.certificate)
    return found


def _counts(outcomes: tuple[Outcome, ...]) -> dict[str, tuple[Look, ...]]:
    """The counts of certificates in which several answers were given, by question."""
    return {
        name: certificate.looks
        for name, certificate in _certificates(outcomes).items()
        if sum(bool(count) for count in certificate.estimation_counts) > 1
    }

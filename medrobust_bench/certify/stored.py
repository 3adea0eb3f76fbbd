"""Certificates of our own runs, checked against the counts that are stored with them, without the model."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import ValidationError
from scipy.stats import hypergeom

from medrobust_bench.certify.certificate import Certificate, certified_radius
from medrobust_bench.certify.fault import Declared, Fault, count_fault
from medrobust_bench.certify.sequential import decided, plan_looks
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Outcome
from medrobust_bench.records.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from medrobust_bench.certify.sequential import PlannedLook
    from medrobust_bench.records import CertifiedEstimate, Failure, Result
    from medrobust_bench.specs.certification import CertificationSpec

IMPOSSIBLE = 1e-9
"""Chance below which an earlier look is not one of the draws that the last one counts."""

SAME = 1e-9
"""Difference, in units of σ or α, below which two values are one: the same formula in another library's arithmetic."""


class StoredRow(NamedTuple):
    """One question of a journal with its certificate.

    Attributes:
        line: one-based line of the journal.
        outcome: what the run recorded.
        certificate: its certificate.
    """

    line: int
    outcome: Outcome
    certificate: Certificate


def stored_rows(lines: Iterable[Outcome | Failure], *, where: str) -> list[StoredRow]:
    """The lines of a journal that carry certificates.

    Args:
        lines: every line of the journal, in order.
        where: what to call the journal in messages.

    Raises:
        InvalidInputError: certificates that are not of this version's form.
    """
    rows, problems = [], []
    for line, outcome in enumerate(lines, start=1):
        if not isinstance(outcome, Outcome) or outcome.certificate is None:
            continue
        try:
            certificate = Certificate.model_validate_json(json.dumps(outcome.certificate), strict=True)
            rows.append(StoredRow(line, outcome, certificate))
        except ValidationError as error:
            fault = error.errors()[0]
            what = f"is not a certificate: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            problems.append(Problem(where, what, "certify again with this version", row=line))
    if problems:
        raise InvalidInputError(problems)
    return rows


def check_stored(
    rows: Sequence[StoredRow],
    declared: Declared,
    *,
    specification: CertificationSpec | None = None,
    questions: Sequence[str] | None = None,
    seed_of: Callable[[str], int] | None = None,
) -> list[Fault]:
    """Everything that is wrong with the certificates of one model under one certification.

    Args:
        rows: at least one.
        declared: what the author says, if anything.
        specification: the published one, if known.
        questions: ids of all questions that had to be certified, if known.
        seed_of: the seed that a question had to have, if known.
    """
    faults = _row_faults(rows, declared, questions)
    faults += _setting_faults(rows, declared, specification)
    checks: list[tuple[str, str, Callable[[StoredRow], bool]]] = [
        ("counts", "counts do not add up to the draws, or fall from one look to the next", _miscounts),
        ("draws", "the first draws and the later ones are not answers of one model", _uneven),
        ("candidate", "the candidate is neither the selection's most frequent answer nor, without one, the right one",
         _wrong_candidate),
        ("spending", "the looks spend more than α together", _overspends),
        ("radius", "the radius is not what the counts give", _wrong_radius),
        ("answers", "prediction, choice and correct do not agree", _inconsistent),
    ]  # fmt: skip
    if seed_of is not None:
        checks.append(
            (
                "seed",
                "the seed is not that of run and question",
                lambda row: row.certificate.seed != seed_of(row.outcome.question),
            )
        )
    for name, what, wrong in checks:
        if lines := tuple(row.line for row in rows if wrong(row)):
            faults.append(Fault(name, what, lines))
    return faults + _look_faults(rows, specification)


def check_result(result: Result) -> list[Fault]:
    """What is wrong with the certified accuracies of a result file, on their own."""
    groups = {
        "all questions": result.metrics,
        **result.metrics.by_modality,
        **result.metrics.by_question_type,
    }
    faults = []
    for name, scores in groups.items():
        points = sorted(scores.certified_accuracy, key=lambda point: point.radius)
        if any(later.value > earlier.value for earlier, later in pairwise(points)):
            faults.append(Fault("monotone", f"certified accuracy of {name} rises with the radius"))
        if not all(_is_share(point, clustered=result.data.groups is not None) for point in points):
            what = f"certified accuracy of {name} is no share of its questions with its Wilson interval"
            faults.append(Fault("counts", what))
    whole = {point.radius: round(point.value * point.n) for point in result.metrics.certified_accuracy}
    for kind, parts in (
        ("modalities", result.metrics.by_modality),
        ("question types", result.metrics.by_question_type),
    ):
        for radius, count in whole.items():
            found = sum(
                round(point.value * point.n)
                for scores in parts.values()
                for point in scores.certified_accuracy
                if point.radius == radius
            )
            if parts and found != count:
                what = f"{count} questions certified at {radius:g}, but {found} over all {kind}"
                faults.append(Fault("counts", what))
    if any(point.n != result.data.n for point in result.metrics.certified_accuracy):
        faults.append(Fault("rows", f"certified accuracy is not over all {result.data.n} questions"))
    return faults


def _row_faults(
    rows: Sequence[StoredRow], declared: Declared, questions: Sequence[str] | None
) -> list[Fault]:
    counts = Counter(row.outcome.question for row in rows)
    faults = count_fault(len(counts), declared.expect)
    if repeated := tuple(row.line for row in rows if counts[row.outcome.question] > 1):
        faults.append(Fault("rows", "a question appears more than once", repeated))
    if questions is not None:
        if missing := [question for question in questions if question not in counts]:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            faults.append(Fault("rows", f"{len(missing)} of {len(questions)} questions are missing: {shown}"))
        known = set(questions)
        if strange := tuple(row.line for row in rows if row.outcome.question not in known):
            faults.append(Fault("rows", "the question is not in the plan", strange))
    return faults


def _setting_faults(
    rows: Sequence[StoredRow], declared: Declared, specification: CertificationSpec | None
) -> list[Fault]:
    """Whether every certificate was made with the setting that is declared, published, or that of the first one."""
    first = rows[0].certificate
    expected: dict[str, object] = {
        name: getattr(first, name) for name in ("n", "n0", "alpha", "sigma", "base")
    }
    if specification is not None:
        expected = {
            "n": specification.n,
            "n0": specification.n0,
            "alpha": float(specification.alpha),
            "sigma": float(specification.sigma),
            "base": specification.base,
        }
    expected |= {
        name: value
        for name in ("n", "n0", "alpha", "sigma")
        if (value := getattr(declared, name)) is not None
    }
    return [
        Fault("setting", f"{name} is not {value}", lines)
        for name, value in expected.items()
        if (lines := tuple(row.line for row in rows if getattr(row.certificate, name) != value))
    ]


def _look_faults(rows: Sequence[StoredRow], specification: CertificationSpec | None) -> list[Fault]:
    """Whether looks were taken, and the draws ended, when the plan says, and not when the counts looked good."""
    if specification is not None:
        radii = [float(radius) for radius in specification.radii]
        plan = plan_looks(
            n=specification.n,
            looks=specification.looks,
            alpha=float(specification.alpha),
            radii=tuple(radii),
            sigma=float(specification.sigma),
        )
        planned = [(look.n, look.alpha) for look in plan]
        elsewhere = tuple(row.line for row in rows if _ends_elsewhere(row.certificate, plan, radii))
    else:
        elsewhere = ()
        planned = max(([(look.n, look.alpha) for look in row.certificate.looks] for row in rows), key=len)
    lines = tuple(
        row.line
        for row in rows
        if [(look.n, look.alpha) for look in row.certificate.looks] != planned[: len(row.certificate.looks)]
    )
    if lines:
        return [Fault("looks", "looks are not those planned before the first draw", lines)]
    return [Fault("looks", "the draws do not end where the plan ends them", elsewhere)] if elsewhere else []


def _ends_elsewhere(certificate: Certificate, plan: Sequence[PlannedLook], radii: Sequence[float]) -> bool:
    radius = 0.0
    for taken, (look, planned) in enumerate(zip(certificate.looks, plan, strict=False), start=1):
        successes = look.counts[certificate.candidate] if certificate.candidate < len(look.counts) else 0
        reached = certified_radius(successes, look.n, alpha=planned.alpha, sigma=certificate.sigma)
        radius = max(radius, reached)
        ends = taken == len(plan) or decided(planned, successes, radius=radius, radii=radii)
        if ends != (taken == len(certificate.looks)):
            return True
    return False


def _is_share(point: CertifiedEstimate, *, clustered: bool) -> bool:
    """Whether it is a share of its questions, with their interval, which clusters can only tell with the journal."""
    exact = wilson(round(point.value * point.n), point.n)
    names = ("value",) if clustered else ("value", "low", "high")
    return all(abs(getattr(point, name) - getattr(exact, name)) < SAME for name in names)


def _miscounts(row: StoredRow) -> bool:
    certificate = row.certificate
    looks = certificate.looks
    width = len(looks[0].counts)
    if any(len(look.counts) != width or sum(look.counts) != look.n or min(look.counts) < 0 for look in looks):
        return True
    if any(
        later.n <= earlier.n or any(b < a for a, b in zip(earlier.counts, later.counts, strict=True))
        for earlier, later in pairwise(looks)
    ):
        return True
    selection = certificate.selection_counts
    selected = sum(selection) == certificate.n0 and len(selection) == (width if certificate.n0 else 0)
    selected = selected and min(selection, default=0) >= 0
    return not selected or looks[-1].n > certificate.n


def _uneven(row: StoredRow) -> bool:
    """Whether an earlier look has far more, or far fewer, of the candidate than the later draws.

    Draws are independent and their order is of no account, so that of S answers among n, the first m hold a number
    that is hypergeometric; over all looks at which the draws might have ended.
    """
    *earlier, last = row.certificate.looks
    candidate = row.certificate.candidate
    if not earlier or _miscounts(row) or candidate >= len(last.counts):
        return False
    drawn = np.array([look.n for look in earlier])
    counts = np.array([look.counts[candidate] for look in earlier])
    among = hypergeom(last.n, last.counts[candidate], drawn)
    chances = np.minimum(among.cdf(counts), among.sf(counts - 1))
    return bool(chances.min() < IMPOSSIBLE)


def _wrong_candidate(row: StoredRow) -> bool:
    certificate = row.certificate
    if certificate.n0 == 0:
        return certificate.candidate != row.outcome.answer
    counts = certificate.selection_counts
    return certificate.candidate >= len(counts) or counts[certificate.candidate] < max(counts)


def _overspends(row: StoredRow) -> bool:
    return sum(look.alpha for look in row.certificate.looks) > row.certificate.alpha * (1 + SAME)


def _wrong_radius(row: StoredRow) -> bool:
    certificate = row.certificate
    if any(certificate.candidate >= len(look.counts) for look in certificate.looks):
        return True
    return abs(certificate.radius - certificate.recomputed_radius()) > SAME * certificate.sigma


def _inconsistent(row: StoredRow) -> bool:
    certificate, outcome = row.certificate, row.outcome
    given = certificate.candidate if certificate.radius > 0 else None
    right = certificate.prediction == outcome.answer
    return not (certificate.prediction == outcome.choice == given and outcome.correct == right)

"""The certificates of a submission: the validator's checks, and that they are about the question's own image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import SHOWN, Declared, Fault
from medrobust_bench.certify.stored import check_stored, stored_rows
from medrobust_bench.leaderboard.entry import JOURNAL
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.certification import CertificationSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.certify.stored import StoredRow
    from medrobust_bench.leaderboard.case import Case


def recomputed(case: Case) -> list[Fault]:
    """Every question has a certificate that its counts bear out; an attack has none."""
    specification = case.specification
    if not isinstance(specification, CertificationSpec):
        certifying = any(outcome.certificate is not None for outcome in case.proof.threat)
        return [Fault("certificates", "an attack certifies nothing")] if certifying else []
    if case.proof.witnesses:
        return [Fault("witnesses", "a certification breaks no answers")]
    try:
        rows = stored_rows(case.proof.threat, where=JOURNAL)
    except InvalidInputError as error:
        return [Fault("certificates", str(problem)) for problem in error.problems[:SHOWN]]
    if len(rows) != len(case.proof.threat):
        return [Fault("certificates", f"{len(case.proof.threat) - len(rows)} questions have none")]
    faults = check_stored(
        rows, Declared(), specification=specification, questions=list(case.questions), seed_of=case.seed
    )
    faults += _about_the_image(rows, case)
    return [Fault(f"certificates, {fault.check}", fault.what, fault.rows) for fault in faults]


def _about_the_image(rows: Sequence[StoredRow], case: Case) -> list[Fault]:
    """Where a certificate is not about the question's own image and options, or did not take its draws."""
    sizes = {name: image.shape[:2] for name, image in case.images.items()}
    checks: list[tuple[str, str, Callable[[StoredRow], bool]]] = [
        (
            "image",
            "the size is not that of the published image",
            lambda row: (row.certificate.height, row.certificate.width) != sizes[row.outcome.question],
        ),
        (
            "options",
            "the counts are not of the question's options and unparsable",
            lambda row: (
                len(row.certificate.looks[-1].counts) != len(case.questions[row.outcome.question].options) + 1
            ),
        ),
        ("cost", "fewer passes than draws", lambda row: row.outcome.forward_passes < row.certificate.draws),
    ]
    return [
        Fault(name, what, lines)
        for name, what, wrong in checks
        if (lines := tuple(row.line for row in rows if wrong(row)))
    ]

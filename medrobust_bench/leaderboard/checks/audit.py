"""The audit of a submission: what follows from its journal, as it follows, and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.runs.audit.carried import carried_audit
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.records import Finding


def recomputed(case: Case) -> list[Fault]:
    """Every finding that the journal gives is reported as it is, and no other.

    Findings that compare several threats of a run are made again from the model's own submissions, see
    `neighbours`; `medrobust submit` leaves them out.
    """
    entry, proof = case.entry, case.proof
    clean, threat = carried_audit(
        [(CLEAN, list(proof.clean)), (entry.result.threat, list(proof.threat))],
        case.questions,
        model=entry.result.model,
        texts=None if case.first_version else case.dataset.option_texts,
    )
    faults = []
    for where, given, made in (("", entry.result.audit, threat), ("clean: ", entry.clean_audit, clean)):
        reported = {finding.check: finding for finding in given}
        if len(reported) < len(given):
            faults.append(Fault("audit", f"{where}a check is reported more than once"))
        for finding in made:
            told = reported.get(finding.check)
            if told is None:
                faults.append(Fault("audit", f"{where}{finding.check} is left out: {finding.meaning}"))
            elif not _alike(told, finding):
                what = f"{told.verdict}, {told.meaning[:200]}; its journal gives {finding.verdict}, {finding.meaning}"
                faults.append(Fault("audit", f"{where}{finding.check} is {what}"))
        faults += [
            Fault("audit", f"{where}{finding.check[:80]} is nothing that its journal gives")
            for finding in given
            if finding.check not in {one.check for one in made}
        ]
    return faults


def _alike(told: Finding, made: Finding) -> bool:
    """Whether two findings say the same, up to the last digit of another platform's arithmetic."""
    values = told.value, made.value
    same = told.model_copy(update={"value": None}) == made.model_copy(update={"value": None})
    if not all(isinstance(value, float) for value in values):
        return same and values[0] == values[1]
    return same and math.isclose(*values, rel_tol=1e-9, abs_tol=1e-12)  # type: ignore[arg-type]

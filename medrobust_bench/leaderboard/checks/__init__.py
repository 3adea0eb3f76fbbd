"""What must hold for a submission to be believed: one file per kind of thing that is looked at.

A check is a function from a claim (or a case, once there is evidence) to faults. `CLAIM` are made before any evidence
is read; `EVIDENCE` on it, each only where nothing that it rests on was found wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medrobust_bench.leaderboard.checks import (
    alterations,
    attack,
    audit,
    certificates,
    data,
    identity,
    journal,
    losses,
    names,
    neighbours,
    numbers,
    threat,
    witnesses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.certify.fault import Fault
    from medrobust_bench.leaderboard.case import Case, Claim


@dataclass(frozen=True, slots=True)
class Check:
    """A check of evidence.

    Attributes:
        run: finds faults.
        after: kinds of fault after which it would say nothing, or the same again; None: after any.
    """

    run: Callable[[Case], list[Fault]]
    after: frozenset[str] | None

    def due(self, found: Sequence[Fault]) -> bool:
        """Whether nothing that it rests on was found wrong."""
        if self.after is None:
            return not found
        return not any(fault.check.partition(",")[0] in self.after for fault in found)


CLAIM: Final[tuple[Callable[[Claim], list[Fault]], ...]] = (
    names.normal_form,
    names.place,
    names.day,
    threat.official_name,
    identity.card,
    identity.likeness,
    identity.copies,
    data.selection,
    data.given_away,
)

_COVERED = frozenset({"questions"})

EVIDENCE: Final[tuple[Check, ...]] = (
    Check(journal.coverage, frozenset()),
    Check(journal.possible_costs, frozenset()),
    Check(journal.agreement, _COVERED),
    Check(journal.unused_fields, _COVERED),
    Check(journal.texts, _COVERED),
    Check(attack.right_ones_attacked, _COVERED),
    Check(attack.as_planned, _COVERED),
    Check(losses.possible, _COVERED),
    Check(losses.different, _COVERED),
    Check(losses.of_two_precisions, _COVERED),
    Check(witnesses.of_broken_answers, _COVERED),
    Check(witnesses.inside_their_budget, frozenset({"questions", "witnesses"})),
    Check(alterations.made_again, _COVERED),
    Check(certificates.recomputed, _COVERED),
    Check(numbers.recomputed, frozenset({"questions", "certificates", "cost"})),
    Check(numbers.answers, frozenset({"questions", "certificates"})),
    Check(audit.recomputed, None),
    Check(neighbours.agreement, None),
)

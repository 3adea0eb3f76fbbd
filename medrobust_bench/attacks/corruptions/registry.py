"""The kinds of corruption by name: those of this package and those that other packages add."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from medrobust_bench.attacks.corruptions import (
    ct,
    dermoscopy,
    fundus,
    general,
    microscopy,
    mri,
    oct,
    ultrasound,
    xray,
)
from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping


ENTRY_POINTS = "medrobust_bench.corruptions"
"""Another package adds a kind by an entry point of this group that is a `Corruption`."""

OWN: tuple[Corruption, ...] = (
    *general.CORRUPTIONS,
    *ct.CORRUPTIONS,
    *mri.CORRUPTIONS,
    *xray.CORRUPTIONS,
    *ultrasound.CORRUPTIONS,
    *oct.CORRUPTIONS,
    *fundus.CORRUPTIONS,
    *dermoscopy.CORRUPTIONS,
    *microscopy.CORRUPTIONS,
)


@cache
def corruptions() -> Mapping[str, Corruption]:
    """All kinds by name, this package's first.

    Raises:
        InvalidInputError: another package adds something that is no corruption, or takes a name that is taken.
    """
    known = {corruption.kind: corruption for corruption in OWN}
    problems = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value)):
        where = f"entry point {point.name} = {point.value}"
        added = point.load()
        if not isinstance(added, Corruption):
            problems.append(Problem(where, f"is {type(added).__name__}, no corruption", "name a Corruption"))
        elif added.kind in known:
            problems.append(Problem(where, f"adds {added.kind!r}, which exists", "choose another kind"))
        else:
            known[added.kind] = added
    if problems:
        raise InvalidInputError(problems)
    return MappingProxyType(known)


def corruption_of(kind: str) -> Corruption:
    """The corruption of a name.

    Raises:
        InvalidInputError: there is none.
    """
    known = corruptions()
    if kind not in known:
        what = f"no corruption is called {kind!r}"
        raise InvalidInputError([Problem("corruption", what, f"use one of {', '.join(known)}")])
    return known[kind]


def kinds_for(modality: str, question_type: str | None = None) -> tuple[Corruption, ...]:
    """The kinds that occur in images of a modality and, if one is named, fit a question type."""
    return tuple(
        corruption
        for corruption in corruptions().values()
        if corruption.occurs_in(modality)
        and (question_type is None or corruption.fits(modality, question_type))
    )

"""The kinds of corruption by name: those of this package and those that other packages add."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from medrobust_bench import extensions
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
from medrobust_bench.problems import InvalidInputError, Problem, near

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


CORRUPTION_GROUP = "medrobust_bench.corruptions"
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
    for added in extensions.extensions(CORRUPTION_GROUP):
        corruption = added.value
        if not isinstance(corruption, Corruption):
            raise added.refused(f"is {type(corruption).__name__}, no corruption", "name a Corruption")
        if corruption.kind in known:
            raise added.refused(f"adds {corruption.kind!r}, which exists", "choose another kind")
        known[corruption.kind] = corruption
    return MappingProxyType(known)


def corruption_of(kind: str) -> Corruption:
    """The corruption of a name.

    Raises:
        InvalidInputError: there is none.
    """
    known = corruptions()
    if kind not in known:
        what = f"no corruption is called {kind!r}"
        raise InvalidInputError(
            [Problem("corruption", what, f"{near(kind, known)}use one of {', '.join(known)}")]
        )
    return known[kind]


def kinds_for(
    modality: str, question_type: str | None = None, *, among: Collection[str] = ()
) -> tuple[Corruption, ...]:
    """The kinds that occur in images of a modality and, if one is named, fit a question type.

    Args:
        modality: of the images.
        question_type: of the questions.
        among: names of kinds; by default all of this package, so that a suite means the same whatever else is
            installed.
    """
    known = [kind for kind in corruptions().values() if kind.kind in among] if among else OWN
    return tuple(
        corruption
        for corruption in known
        if corruption.occurs_in(modality)
        and (question_type is None or corruption.fits(modality, question_type))
    )

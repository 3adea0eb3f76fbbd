"""Names, place, day and form of a submission file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import SHOWN, Fault
from medrobust_bench.leaderboard.entry import entry_path
from medrobust_bench.leaderboard.names import MODEL, THREAT, harmless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medrobust_bench.leaderboard.case import Claim
    from medrobust_bench.leaderboard.entry import Entry


FIRST_DAY = date(2026, 1, 1)
"""No submission is older: this format came into being later that year."""


def hostile(entry: Entry) -> list[Fault]:
    """Names stand in paths, tables and pages: nothing else of a submission is looked at before they are harmless."""
    result = entry.result
    named = [
        ("model id", result.model.id, MODEL),
        ("data set", result.data.name, MODEL),
        ("threat", result.threat.name, THREAT),
    ]
    return [
        Fault("names", f"{what} {name[:60]!r} holds characters that names may not hold")
        for what, name, form in named
        if not harmless(name, form)
    ]


def normal_form(claim: Claim) -> list[Fault]:
    """Every value is written as the program writes it: 20, not 20.0; "8/255", not " 16/510"."""
    written = claim.entry.model_dump(mode="json")
    found = list(_otherwise(claim.document, written))
    return [
        Fault("form", f"{path} is written {given!r}, its normal form is {normal!r}")
        for path, given, normal in found[:SHOWN]
    ]


def place(claim: Claim) -> list[Fault]:
    """The file stands where its names say."""
    expected = entry_path(claim.entry.result)
    if claim.path.absolute().as_posix().split("/")[-3:] == expected.split("/"):
        return []
    return [Fault("names", f"the file belongs at {expected}")]


def day(claim: Claim) -> list[Fault]:
    """It was submitted today or before, and not before there was anything to submit to."""
    submitted = claim.entry.submitted
    if submitted < FIRST_DAY:
        return [Fault("date", f"was submitted on {submitted}; there are no submissions before {FIRST_DAY}")]
    if submitted > datetime.now(UTC).date():
        return [Fault("date", f"was submitted on {submitted}, which is yet to come")]
    return []


def _otherwise(given: object, normal: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Where a document differs from its normal form, types included; what is left out is left out."""
    if isinstance(given, dict) and isinstance(normal, dict):
        for key in given:
            yield from _otherwise(given[key], normal.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(given, list) and isinstance(normal, list) and len(given) == len(normal):
        for index, (left, right) in enumerate(zip(given, normal, strict=True)):
            yield from _otherwise(left, right, f"{path}[{index}]")
    elif type(given) is not type(normal) or given != normal:
        yield path, given, normal

"""Whether a submission can be believed: checked on a CPU, without attacking and without the model.

A submission is *accepted* when nothing is wrong with it (`checks`). It is *ranked* when, on top of that, it answers an
official set of questions under an official threat, its model is pinned and its audit leaves no doubt (`standing`);
otherwise it is shown without a rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.certify.fault import Fault
from medrobust_bench.data.cards import shipped_cards
from medrobust_bench.data.reopen import Place
from medrobust_bench.data.source import PHANTOMS, open_data
from medrobust_bench.leaderboard import checks
from medrobust_bench.leaderboard.case import Case, Claim
from medrobust_bench.leaderboard.checks.names import hostile
from medrobust_bench.leaderboard.entry import ENTRY_VERSION, LARGEST_FILE, Entry
from medrobust_bench.leaderboard.evidence import read_proof
from medrobust_bench.leaderboard.folder import strays_of
from medrobust_bench.leaderboard.standing import why_unranked
from medrobust_bench.leaderboard.strict_json import read_strictly
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import READABLE, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.models.cards import Card


@dataclass(frozen=True)
class Verdict:
    """What came of checking one submission.

    Attributes:
        path: the submission file.
        faults: what is wrong; accepted only if nothing is.
        unranked: why an accepted submission has no rank.
        case: the submission with its evidence and questions, where they could be read.
    """

    path: Path
    faults: tuple[Fault, ...]
    unranked: tuple[str, ...] = ()
    case: Case | None = None

    @property
    def accepted(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def ranked(self) -> bool:
        """Whether it takes part in the ranking."""
        return self.accepted and not self.unranked


def verify(path: Path, *, cards: Mapping[str, Card], data: Mapping[str, Place] | None = None) -> Verdict:
    """Check one submission.

    Args:
        path: `<data>/<threat>/<model>.json`, with its evidence beside it or on the hub, and among the other
            submissions of its folder.
        cards: the model registry.
        data: by data set name, where it is on this machine; phantoms need no place.

    Raises:
        InvalidInputError: the data set is not at hand: nothing can be said about the submission then.
    """
    document, unreadable = read_document(path)
    entry, invalid = (None, unreadable) if document is None else read_entry(document[0])
    if document is None or entry is None:
        return Verdict(path, tuple(invalid))
    if harmful := hostile(entry):
        return Verdict(path, tuple(harmful))
    dataset = open_selection(entry, data or {})
    _with_training(entry, dataset)
    claim = Claim(path, entry, document[1], cards, dataset, place_of(entry, data or {}))
    faults = [fault for check in checks.CLAIM for fault in check(claim)]
    faults += strays_of(path, entry)
    proof, unreadable = read_proof(path, entry)
    faults += unreadable
    if proof is None or any(fault.check in ("data", "threat", "form") for fault in faults):
        return Verdict(path, tuple(faults))
    case = Case(path, entry, claim.document, cards, dataset, claim.place, proof)
    faults += _of_evidence(case)
    reasons = () if faults else why_unranked(path, entry, proof, cards)
    return Verdict(path, tuple(faults), tuple(reasons), case)


def read_document(path: Path) -> tuple[tuple[bytes, object] | None, list[Fault]]:
    """Read a submission file without trusting it: its bytes, and the JSON in them.

    Raises:
        InvalidInputError: there is no such file.
    """
    try:
        if any(part.is_symlink() for part in (path, *path.absolute().parents[:2])):
            return None, [Fault("file", "is a link, or stands behind one")]
        if not path.is_file():
            raise InvalidInputError([Problem(str(path), "is no file", "give a submission file (*.json)")])
        if path.stat().st_size > LARGEST_FILE:
            what = f"has {path.stat().st_size} bytes, at most {LARGEST_FILE} are allowed"
            return None, [Fault("file", what)]
        content = path.read_bytes()
        return (content, read_strictly(content)), []
    except OSError as error:
        raise InvalidInputError(
            [Problem(str(path), f"cannot be read: {error.strerror}", "give a submission file (*.json)")]
        ) from error
    except ValueError as error:
        if isinstance(error, InvalidInputError):
            raise
        return None, [Fault("file", f"is not valid JSON: {str(error).splitlines()[0]}")]


def read_entry(content: bytes) -> tuple[Entry | None, list[Fault]]:
    """The submission in a document that is strict JSON."""
    document = read_strictly(content)
    if not isinstance(document, dict) or "entry_version" not in document:
        return None, [Fault("file", "is no submission: write it with `medrobust submit`")]
    result = document.get("result")
    versions = document["entry_version"], result.get("schema_version") if isinstance(result, dict) else None
    if versions[0] != ENTRY_VERSION or versions[1] not in READABLE:
        what = f"has versions {versions}, this program reads ({ENTRY_VERSION!r}, {SCHEMA_VERSION!r}): run again with it"
        return None, [Fault("schema", what)]
    try:
        return Entry.model_validate_json(content), []
    except ValidationError as error:
        return None, [
            Fault("schema", f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
            for fault in error.errors()[:10]
        ]


def place_of(entry: Entry, data: Mapping[str, Place]) -> Place:
    """Where the data set of a submission is on this machine.

    Raises:
        InvalidInputError: nobody says.
    """
    name = entry.result.data.name
    place = data.get(name, Place(PHANTOMS) if name == PHANTOMS else None)
    if place is None:
        remedy = f"say where it is: --data {name}=PATH"
        if name in shipped_cards():
            remedy += f" for a copy of its files, or --data {name} for the hub or its cache"
        raise InvalidInputError([Problem(name, "the data set is needed to check this", remedy)])
    return place


def open_selection(entry: Entry, data: Mapping[str, Place]) -> Dataset:
    """The questions that a submission says it asked, from the data set on this machine.

    Raises:
        InvalidInputError: the data set is not at hand or cannot be opened.
    """
    place, chosen = place_of(entry, data), entry.selection
    return open_data(
        place.source,
        split=chosen.split,
        skip_invalid=chosen.skip_invalid,
        modalities=chosen.modalities,
        images=place.images,
        limit=chosen.limit,
        sample_seed=chosen.seed,
        cached=False,
    )


def _with_training(entry: Entry, dataset: Dataset) -> None:
    """What texts give away can only be counted again where the training split is at hand.

    Raises:
        InvalidInputError: it is not.
    """
    told = entry.result.without_images
    if told is not None and told.option_texts is not None and dataset.option_texts is None:
        remedy = f"get it as well, and say where it is: --data {dataset.name}=PATH"
        raise InvalidInputError(
            [Problem(dataset.name, "its training split is needed to check this as well", remedy)]
        )


def _of_evidence(case: Case) -> list[Fault]:
    """What the evidence does not bear out, each check once what it rests on is in order."""
    found: list[Fault] = []
    for check in checks.EVIDENCE:
        if check.due(found):
            found += check.run(case)
    return found

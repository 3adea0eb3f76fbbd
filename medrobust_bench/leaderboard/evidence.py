"""The evidence of a submission, read without trusting it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.answers import counted, from_csv
from medrobust_bench.leaderboard.entry import (
    ANSWERS,
    JOURNAL,
    LARGEST_IN_REPOSITORY,
    WITNESSES,
    evidence_folder,
)
from medrobust_bench.leaderboard.strict_json import read_strictly
from medrobust_bench.records import Outcome
from medrobust_bench.records.witness import GROUP, StoredWitness, Witness
from medrobust_bench.records.witness import SCHEMA as WITNESS_SCHEMA
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.answers import Answers
    from medrobust_bench.leaderboard.entry import Entry, Evidence
    from medrobust_bench.records.witness import AnyWitness

LARGEST = {JOURNAL: 2_000_000_000, ANSWERS: 2_000_000_000, WITNESSES: 200_000_000_000}
"""Bytes of a file of evidence. Journals are read into memory, images one after another from the disk."""


LONGER, OVERHEAD = 1.2, 20_000
"""How much larger a file may be than what stands in it, as a factor and in bytes besides: nobody looks at the rest."""


@dataclass(frozen=True)
class Proof:
    """Evidence that has the size and digest of the manifest and could be read.

    Attributes:
        clean: outcomes on the clean images, in the journal's order.
        threat: outcomes under the threat.
        witnesses: the images that broke an answer.
        answers: the content of `answers.csv`; None where the journal stands beside.
    """

    clean: tuple[Outcome, ...]
    threat: tuple[Outcome, ...]
    witnesses: tuple[AnyWitness, ...]
    answers: bytes | None = None


def read_proof(path: Path, entry: Entry) -> tuple[Proof | None, list[Fault]]:
    """Read the evidence of a submission file, from beside it or from the hub.

    Args:
        path: the submission file.
        entry: what it holds.
    """
    faults: list[Fault] = []
    contents: dict[str, Path] = {}
    for file in entry.evidence:
        if file.name in contents:
            faults.append(Fault("evidence", f"{file.name} is listed twice"))
        elif file.size > LARGEST[file.name]:
            faults.append(Fault("evidence", f"{file.name} claims {file.size} bytes"))
        elif file.hub is None and file.size > LARGEST_IN_REPOSITORY:
            what = f"{file.name} has {file.size} bytes, more than a pull request may carry: `--push-to-hub`"
            faults.append(Fault("evidence", what))
        elif file.name == ANSWERS and file.hub is not None:
            faults.append(Fault("evidence", f"{file.name} is on the hub, though ranks are computed from it"))
        elif file.name == JOURNAL and file.hub is not None and file.size <= LARGEST_IN_REPOSITORY:
            what = f"{file.name} is on the hub, though small: ranks are computed from it"
            faults.append(Fault("evidence", what))
        else:
            place = _place(path, file.name, file.hub, file.size)
            fault = place if isinstance(place, Fault) else _differs(place, file)
            if fault is not None:
                faults.append(fault)
            contents[file.name] = Path() if isinstance(place, Fault) else place
    hubs = {file.name: file.hub for file in entry.evidence}
    if JOURNAL not in hubs:
        faults.append(Fault("evidence", f"no {JOURNAL}: nothing shows how the numbers came about"))
    elif (hubs[JOURNAL] is None) == (ANSWERS in hubs):
        faults.append(Fault("evidence", f"{ANSWERS} belongs beside a journal on the hub, and nowhere else"))
    if faults:
        return None, faults
    outcomes, faults = _outcomes(contents[JOURNAL].read_bytes())
    witnesses, unreadable = _witnesses(contents.get(WITNESSES), most=len(outcomes))
    faults += unreadable
    answers = contents[ANSWERS].read_bytes() if ANSWERS in contents else None
    name = entry.result.threat.name
    strangers = [
        o for o in outcomes if o.threat not in (CLEAN.name, name) or o.model != entry.result.model.id
    ]
    if strangers:
        faults.append(Fault("journal", f"{len(strangers)} lines are about another model or threat"))
    clean = tuple(outcome for outcome in outcomes if outcome.threat == CLEAN.name)
    threat = tuple(outcome for outcome in outcomes if outcome.threat == name)
    return (None if faults else Proof(clean, threat, witnesses, answers)), faults


def read_answers(path: Path, entry: Entry) -> Answers | None:
    """The answers that ranks are computed from, as they stand beside a submission; None where they do not.

    Args:
        path: the submission file.
        entry: what it holds.
    """
    proof = read_beside(path, entry)
    beside = evidence_folder(path) / ANSWERS
    try:
        if proof is not None:
            return counted(proof.threat, entry.result.threat)
        if ANSWERS not in {file.name for file in entry.evidence} or beside.is_symlink():
            return None
        return from_csv(beside.read_bytes()) if beside.stat().st_size <= LARGEST_IN_REPOSITORY else None
    except (OSError, ValueError):
        return None


def read_beside(path: Path, entry: Entry) -> Proof | None:
    """The evidence that stands beside a submission, without what is on the hub; None where the journal is.

    Args:
        path: the submission file.
        entry: what it holds.
    """
    beside = tuple(file for file in entry.evidence if file.hub is None)
    if JOURNAL not in {file.name for file in beside}:
        return None
    return read_proof(path, entry.model_copy(update={"evidence": beside}))[0]


def _differs(place: Path, file: Evidence) -> Fault | None:
    """In what a file is not the one of the manifest."""
    try:
        with place.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            if size != file.size:
                what = f"{file.name} has {size} bytes, its manifest says {file.size}"
                return Fault("evidence", what)
            if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                return Fault("evidence", f"{file.name} is not the file of the manifest: another SHA-256")
    except OSError as error:
        return Fault("evidence", f"{file.name} cannot be read: {error.strerror}")
    return None


def _place(path: Path, name: str, hub: str | None, size: int) -> Path | Fault:
    """Where a file of evidence lies on this machine, fetched from the hub if need be."""
    if hub is not None:
        return _download(hub, size)
    file = evidence_folder(path) / name
    if file.is_symlink() or evidence_folder(path).is_symlink():
        return Fault("evidence", f"{name} is a link")
    return file


def _download(hub: str, size: int) -> Path | Fault:
    from huggingface_hub import HfApi, hf_hub_download

    repository, _, rest = hub.partition("@")
    revision, _, file = rest.partition("/")
    if ".." in file.split("/"):
        return Fault("evidence", f"{hub} leads out of its repository")
    try:
        (info,) = HfApi().get_paths_info(repository, file, repo_type="dataset", revision=revision)
        if getattr(info, "size", None) != size:
            return Fault("evidence", f"{hub} has another size than its manifest says")
        local = hf_hub_download(repository, file, repo_type="dataset", revision=revision)
    except Exception as error:
        # The hub's client lets through what its HTTP library raises, and that library differs by version.
        return Fault("evidence", f"{hub} cannot be had: {type(error).__name__}: {error}"[:300])
    return Path(local)


def _outcomes(content: bytes) -> tuple[list[Outcome], list[Fault]]:
    *lines, last = content.split(b"\n")
    if last:
        return [], [Fault("journal", "its last line is cut off")]
    outcomes = []
    for row, line in enumerate(lines, start=1):
        try:
            written = json.dumps(read_strictly(line), ensure_ascii=False, separators=(",", ":"))
            if len(line) > LONGER * len(written.encode()):
                return [], [Fault("journal", "is padded: a line is far longer than what it says", (row,))]
            outcomes.append(Outcome.model_validate_json(line, strict=True))
        except ValidationError as error:
            return [], [Fault("journal", f"not an outcome: {error.errors()[0]['msg']}", (row,))]
        except ValueError as error:
            return [], [Fault("journal", f"not JSON: {str(error).splitlines()[0]}", (row,))]
    return outcomes, []


def _witnesses(path: Path | None, *, most: int) -> tuple[tuple[StoredWitness, ...], list[Fault]]:
    """The witnesses of a file, which may not unpack to far more than it holds; their images stay there.

    Args:
        path: of the file; None where there is none.
        most: rows that it may have.
    """
    if path is None:
        return (), []
    try:
        size = path.stat().st_size
        file = pq.ParquetFile(path)
        if not file.schema_arrow.equals(WITNESS_SCHEMA):
            return (), [Fault("witnesses", "the columns are not those of a witness file")]
        if file.metadata.num_rows > most:
            return (), [Fault("witnesses", f"{file.metadata.num_rows} rows, for {most} outcomes")]
        if _compressed(file.metadata):
            return (), [Fault("witnesses", "is compressed, as no file of `medrobust submit` is")]
        witnesses: list[StoredWitness] = []
        unpacked = 0
        for group in range(file.num_row_groups):
            place = 0
            for batch in file.iter_batches(batch_size=GROUP, row_groups=[group]):
                unpacked += batch.nbytes
                if unpacked > 2 * size + 1_000_000:
                    what = "unpacks to far more than it holds: PNG does not compress"
                    return (), [Fault("witnesses", what)]
                for row in batch.to_pylist():
                    found = Witness.model_validate(row, strict=True)
                    witnesses.append(
                        StoredWitness(
                            **found.model_dump(exclude={"image"}), path=path, group=group, row=place
                        )
                    )
                    place += 1
        if size > LONGER * unpacked + OVERHEAD:
            return (), [Fault("witnesses", "is padded: far larger than its rows")]
        return tuple(witnesses), []
    except (pa.ArrowException, OSError, ValueError) as error:  # fields and their encoding are ValueErrors
        return (), [Fault("witnesses", f"cannot be read: {str(error).splitlines()[0]}")]


def _compressed(metadata: pq.FileMetaData) -> bool:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return any(column.compression != "UNCOMPRESSED" for column in columns)

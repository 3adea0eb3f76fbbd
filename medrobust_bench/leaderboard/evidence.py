"""The evidence of a submission, read without trusting it."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
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
from medrobust_bench.records.witness import SCHEMA as WITNESS_SCHEMA
from medrobust_bench.records.witness import Witness
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.leaderboard.answers import Answers
    from medrobust_bench.leaderboard.entry import Entry

LARGEST_EVIDENCE = 2_000_000_000
"""Bytes of one file of evidence, which is read into memory."""


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
    witnesses: tuple[Witness, ...]
    answers: bytes | None = None


def read_proof(path: Path, entry: Entry) -> tuple[Proof | None, list[Fault]]:
    """Read the evidence of a submission file, from beside it or from the hub.

    Args:
        path: the submission file.
        entry: what it holds.
    """
    faults: list[Fault] = []
    contents: dict[str, bytes] = {}
    for file in entry.evidence:
        if file.name in contents:
            faults.append(Fault("evidence", f"{file.name} is listed twice"))
        elif file.size > LARGEST_EVIDENCE:
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
            content, fault = _content(path, file.name, file.hub, file.size)
            if fault is None and len(content) != file.size:
                fault = Fault(
                    "evidence", f"{file.name} has {len(content)} bytes, its manifest says {file.size}"
                )
            if fault is None and hashlib.sha256(content).hexdigest() != file.sha256:
                fault = Fault("evidence", f"{file.name} is not the file of the manifest: another SHA-256")
            if fault is not None:
                faults.append(fault)
            contents[file.name] = content
    hubs = {file.name: file.hub for file in entry.evidence}
    if JOURNAL not in hubs:
        faults.append(Fault("evidence", f"no {JOURNAL}: nothing shows how the numbers came about"))
    elif (hubs[JOURNAL] is None) == (ANSWERS in hubs):
        faults.append(Fault("evidence", f"{ANSWERS} belongs beside a journal on the hub, and nowhere else"))
    if faults:
        return None, faults
    outcomes, faults = _outcomes(contents[JOURNAL])
    witnesses, unreadable = _witnesses(contents.get(WITNESSES), most=len(outcomes))
    faults += unreadable
    name = entry.result.threat.name
    strangers = [
        o for o in outcomes if o.threat not in (CLEAN.name, name) or o.model != entry.result.model.id
    ]
    if strangers:
        faults.append(Fault("journal", f"{len(strangers)} lines are about another model or threat"))
    clean = tuple(outcome for outcome in outcomes if outcome.threat == CLEAN.name)
    threat = tuple(outcome for outcome in outcomes if outcome.threat == name)
    return (None if faults else Proof(clean, threat, witnesses, contents.get(ANSWERS))), faults


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


def _content(path: Path, name: str, hub: str | None, size: int) -> tuple[bytes, Fault | None]:
    if hub is not None:
        return _download(hub, size)
    file = evidence_folder(path) / name
    if file.is_symlink() or evidence_folder(path).is_symlink():
        return b"", Fault("evidence", f"{name} is a link")
    try:
        if file.stat().st_size != size:
            return b"", Fault("evidence", f"{name} has {file.stat().st_size} bytes, its manifest says {size}")
        return file.read_bytes(), None
    except OSError as error:
        return b"", Fault("evidence", f"{name} cannot be read: {error.strerror}")


def _download(hub: str, size: int) -> tuple[bytes, Fault | None]:
    from pathlib import Path

    from huggingface_hub import HfApi, hf_hub_download

    repository, _, rest = hub.partition("@")
    revision, _, file = rest.partition("/")
    if ".." in file.split("/"):
        return b"", Fault("evidence", f"{hub} leads out of its repository")
    try:
        (info,) = HfApi().get_paths_info(repository, file, repo_type="dataset", revision=revision)
        if getattr(info, "size", None) != size:
            return b"", Fault("evidence", f"{hub} has another size than its manifest says")
        local = hf_hub_download(repository, file, repo_type="dataset", revision=revision)
    except Exception as error:
        # The hub's client lets through what its HTTP library raises, and that library differs by version.
        return b"", Fault("evidence", f"{hub} cannot be had: {type(error).__name__}: {error}"[:300])
    return Path(local).read_bytes(), None


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


def _witnesses(content: bytes | None, *, most: int) -> tuple[tuple[Witness, ...], list[Fault]]:
    """The witnesses of a file, which may not unpack to far more than it holds.

    Args:
        content: of the file; None where there is none.
        most: rows that it may have.
    """
    if content is None:
        return (), []
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        if not file.schema_arrow.equals(WITNESS_SCHEMA):
            return (), [Fault("witnesses", "the columns are not those of a witness file")]
        if file.metadata.num_rows > most:
            return (), [Fault("witnesses", f"{file.metadata.num_rows} rows, for {most} outcomes")]
        if _compressed(file.metadata):
            return (), [Fault("witnesses", "is compressed, as no file of `medrobust submit` is")]
        witnesses: list[Witness] = []
        unpacked = 0
        for batch in file.iter_batches(batch_size=16):
            unpacked += batch.nbytes
            if unpacked > 2 * len(content) + 1_000_000:
                return (), [Fault("witnesses", "unpacks to far more than it holds: PNG does not compress")]
            witnesses += [Witness.model_validate(row, strict=True) for row in batch.to_pylist()]
        if len(content) > LONGER * unpacked + OVERHEAD:
            return (), [Fault("witnesses", "is padded: far larger than its rows")]
        return tuple(witnesses), []
    except (pa.ArrowException, OSError, ValueError) as error:  # fields and their encoding are ValueErrors
        return (), [Fault("witnesses", f"cannot be read: {str(error).splitlines()[0]}")]


def _compressed(metadata: pq.FileMetaData) -> bool:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return any(column.compression != "UNCOMPRESSED" for column in columns)

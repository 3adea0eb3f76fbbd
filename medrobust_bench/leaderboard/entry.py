"""A submission to the leaderboard: one result with what a stranger needs to check it.

`<data>/<threat>/<model>.json` holds the result, how its questions were chosen, and a manifest of the evidence:
`journal.jsonl`, one line per question on the clean image and under the threat, and `witnesses.parquet`, the images that
broke an answer. Each stands in a folder of the same name beside it, or on the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import io
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from medrobust_bench.leaderboard.names import slug
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Finding, Record, Result
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.witness import SCHEMA as WITNESS_SCHEMA
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.records import Outcome
    from medrobust_bench.records.witness import Witness
    from medrobust_bench.runs.run import Run
    from medrobust_bench.specs.settings import RunSettings

ENTRY_VERSION: Final = "1.0"

JOURNAL, WITNESSES = "journal.jsonl", "witnesses.parquet"

LARGEST_IN_REPOSITORY = 20_000_000
"""Bytes of evidence that a pull request may carry; more belongs into a data set on the hub."""


class Selection(Record):
    """How the questions were chosen from the data set."""

    split: str
    modalities: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=1, description="Size of the balanced sample; null for all")
    skip_invalid: bool = False
    seed: int = Field(ge=0, description="Of the sample, and of every attack")


class Evidence(Record):
    """One file of evidence."""

    name: Literal["journal.jsonl", "witnesses.parquet"]
    size: int = Field(ge=0, description="Bytes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}/[\w./-]+$",
        description="owner/dataset@commit/path on the Hugging Face hub; null: beside this file",
    )


class Entry(Record):
    """A submission."""

    entry_version: Literal["1.0"] = ENTRY_VERSION
    submitted: date = Field(description="Day on which it was written, UTC")
    result: Result
    clean_audit: tuple[Finding, ...] = Field(
        default=(), description="What the audit of the clean answers found: chance, image dependence, …"
    )
    selection: Selection
    evidence: tuple[Evidence, ...] = Field(min_length=1, max_length=2)


def entry_path(result: Result) -> str:
    """Where a submission stands below the folder of submissions: `<data>/<threat>/<model>.json`."""
    return "/".join(map(slug, (result.data.name, result.threat.name, result.model.id))) + ".json"


def evidence_folder(path: Path) -> Path:
    """The folder of a submission's evidence."""
    return path.with_suffix("")


def submit(run: Run, out: Path, *, models: Sequence[str] = (), hub: str | None = None) -> list[Path]:
    """Write a submission for every model and threat of a run; none for the worst case over several.

    Args:
        run: a finished run.
        out: the folder of submissions, `leaderboards/submissions` in the repository.
        models: only these; all by default.
        hub: `owner/dataset` to which the witnesses are uploaded instead of being written beside, and a journal that
            is too large for the repository; needs a login. A data set that does not exist yet is made private.

    Returns:
        The submission files.

    Raises:
        InvalidInputError: an unknown model, evidence too large for the repository, two submissions of one name, or a
            data set that cannot be written to.
    """
    plan = run.record.plan
    results = [
        result
        for result in run.results
        if result.threat in plan.threats[1:] and (not models or result.model.id in models)
    ]
    clean_audits = {
        result.model.id: result.audit for result in run.results if result.threat.name == CLEAN.name
    }
    problems = [
        Problem(str(run.folder), f"has no model {name!r}", f"use one of {', '.join(plan.models)}")
        for name in models
        if name not in plan.models
    ]
    if not results and not problems:
        problems.append(Problem(str(run.folder), "was run under no threat", "run with --threat"))
    contents = {entry_path(result): (result, _contents(run, result)) for result in results}
    if len(contents) < len(results):
        problems.append(Problem(str(run.folder), "has models of equal names", "submit one with --model"))
    if hub is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", hub):
        problems.append(Problem(hub, "is no data set on the hub", "write OWNER/DATASET"))
    for name, (_result, files) in contents.items():
        size = sum(map(len, files.values()))
        if hub is None and size > LARGEST_IN_REPOSITORY:
            what = f"has {size / 1e6:.0f} MB of evidence, more than a pull request may carry"
            problems.append(Problem(name, what, "upload it with --push-to-hub OWNER/DATASET"))
    if problems:
        raise InvalidInputError(problems)
    written = []
    for name, (result, files) in contents.items():
        path = out / name
        away = {
            file: content
            for file, content in files.items()
            if hub is not None and (file == WITNESSES or len(content) > LARGEST_IN_REPOSITORY)
        }
        places = _upload(hub, name.removesuffix(".json"), away) if hub is not None and away else {}
        for file in (JOURNAL, WITNESSES):
            beside = evidence_folder(path) / file
            if file in files and file not in places:
                replace_file(beside, files[file])
            else:
                beside.unlink(missing_ok=True)  # of an earlier submission
        entry = Entry(
            submitted=datetime.now(UTC).date(),
            result=result,
            clean_audit=clean_audits.get(result.model.id, ()),
            selection=_selection(plan.settings),
            evidence=tuple(
                Evidence.model_validate(
                    {
                        "name": file,
                        "size": len(content),
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "hub": places.get(file),
                    }
                )
                for file, content in files.items()
            ),
        )
        replace_file(path, entry.model_dump_json(indent=2).encode() + b"\n")
        written.append(path)
    return written


def _selection(settings: RunSettings) -> Selection:
    return Selection(
        split=settings.split,
        modalities=settings.modalities,
        limit=settings.sample_size,
        skip_invalid=settings.skip_invalid,
        seed=settings.seed,
    )


def _contents(run: Run, result: Result) -> dict[str, bytes]:
    """The evidence of one result, by file name."""
    model, threat = result.model.id, result.threat.name
    journal = [*run.outcomes[model, CLEAN.name], *run.outcomes[model, threat]]
    files = {JOURNAL: b"".join(outcome.model_dump_json().encode() + b"\n" for outcome in journal)}
    if witnesses := _of_journal(run.witnesses(model, threat), run.outcomes[model, threat]):
        table = pa.Table.from_pylist([witness.model_dump() for witness in witnesses], schema=WITNESS_SCHEMA)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="none")
        files[WITNESSES] = buffer.getvalue()
    return files


def _of_journal(witnesses: Sequence[Witness], outcomes: Sequence[Outcome]) -> list[Witness]:
    """The witnesses that the journal names, in its order; a killed run may have left others."""
    by_digest = {(witness.question, witness.sha256): witness for witness in witnesses}
    named = ((outcome.question, outcome.witness_sha256 or "") for outcome in outcomes)
    return [by_digest[key] for key in named if key in by_digest]


def _upload(repository: str, folder: str, files: dict[str, bytes]) -> dict[str, str]:
    """Upload to a data set on the hub; returns where each file is, at the commit that holds all of them."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    operations = [
        CommitOperationAdd(path_in_repo=f"{folder}/{name}", path_or_fileobj=content)
        for name, content in files.items()
    ]
    try:
        # Whether images of patients may be shown to everybody is for their author to say.
        api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        commit = api.create_commit(
            repository, operations, repo_type="dataset", commit_message=f"Evidence of {folder}"
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        what = f"cannot be written to: {str(error).splitlines()[0]}"
        raise InvalidInputError([Problem(repository, what, "log in with `hf auth login`")]) from error
    return {name: f"{repository}@{commit.oid}/{folder}/{name}" for name in files}

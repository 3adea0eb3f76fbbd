"""A finished run as submissions."""

from __future__ import annotations

import hashlib
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.answers import counted, to_csv
from medrobust_bench.leaderboard.entry import (
    ANSWERS,
    JOURNAL,
    LARGEST_IN_REPOSITORY,
    WITNESSES,
    Entry,
    Evidence,
    Selection,
    entry_path,
    evidence_folder,
)
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Outcome
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.witness import write_rows
from medrobust_bench.runs.audit.rivalry import COMPARED
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Finding, Result
    from medrobust_bench.records.witness import AnyWitness
    from medrobust_bench.runs.run import Run
    from medrobust_bench.specs.settings import RunSettings

Files = dict[str, bytes | Path]
"""Evidence by file name: its content, or where it lies; images are many."""


def submit(
    run: Run,
    out: Path,
    *,
    models: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    hub: str | None = None,
) -> list[Path]:
    """Write a submission for every model and threat of a run; none for the worst case over several.

    Args:
        run: a finished run.
        out: the folder of submissions, `leaderboards/submissions` in the repository.
        models: only these; all by default.
        names: by what the run calls a model, the id of its card, which is what a submission calls it.
        hub: `owner/dataset` to which the witnesses are uploaded instead of being written beside, and a journal that
            is too large for the repository; needs a login. A data set that does not exist yet is made private.

    Returns:
        The submission files.

    Raises:
        InvalidInputError: an unknown model, evidence too large for the repository, two submissions of one name, or a
            data set that cannot be written to.
    """
    with TemporaryDirectory(prefix="medrobust-", dir=_existing(out)) as folder:
        return _submit(run, out, Path(folder), models=models, names=names, hub=hub)


def _existing(path: Path) -> Path:
    """The nearest folder around a path that is there: what is written in it can be moved to the path."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _submit(
    run: Run,
    out: Path,
    aside: Path,
    *,
    models: Sequence[str],
    names: Mapping[str, str] | None,
    hub: str | None,
) -> list[Path]:
    """See `submit`; images are gathered in a folder aside until everything has been checked."""
    results = _chosen(run, models)
    contents = {}
    for number, result in enumerate(results):
        model = (names or {}).get(result.model.id, result.model.id)
        named = result.model_copy(update={"model": result.model.model_copy(update={"id": model})})
        contents[entry_path(named)] = named, _evidence(run, result, model, aside / f"{number}.parquet")
    _check(run, results, contents, models=models, hub=hub)
    clean_audits = {
        (names or {}).get(result.model.id, result.model.id): result.audit
        for result in run.results
        if result.threat.name == CLEAN.name
    }
    written = []
    for name, (result, files) in contents.items():
        places = {} if hub is None else _move_to_hub(hub, name.removesuffix(".json"), files)
        if JOURNAL in places:
            files[ANSWERS] = _bits(_content(files[JOURNAL]), result)
        evidence = tuple(_manifest(file, content, places.get(file)) for file, content in files.items())
        _write_beside(out / name, files, places)
        entry = Entry(
            submitted=datetime.now(UTC).date(),
            result=result.model_copy(update={"audit": _of_one_threat(result.audit)}),
            clean_audit=clean_audits.get(result.model.id, ()),
            selection=_selection(run.record.plan.settings),
            evidence=evidence,
        )
        replace_file(out / name, entry.model_dump_json(indent=2).encode() + b"\n")
        written.append(out / name)
    return written


def _chosen(run: Run, models: Sequence[str]) -> list[Result]:
    return [
        result
        for result in run.results
        if result.threat in run.record.plan.threats[1:] and (not models or result.model.id in models)
    ]


def _check(
    run: Run,
    results: Sequence[Result],
    contents: Mapping[str, tuple[Result, Files]],
    *,
    models: Sequence[str],
    hub: str | None,
) -> None:
    where, plan = str(run.folder), run.record.plan
    problems = [
        Problem(where, f"has no model {name!r}", f"use one of {', '.join(plan.models)}")
        for name in models
        if name not in plan.models
    ]
    if not results and not problems:
        problems.append(Problem(where, "was run under no threat", "run with --threat"))
    if len(contents) < len(results):
        problems.append(Problem(where, "has models of equal names", "submit one with --model"))
    if failed := [result for result in results if result.failed or result.data.n < plan.data.n]:
        what = f"questions failed under {', '.join(sorted({result.threat.name for result in failed}))}"
        remedy = "a submission answers every question: try them again with `medrobust run --resume`"
        problems.append(Problem(where, what, remedy))
    if hub is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", hub):
        problems.append(Problem(hub, "is no data set on the hub", "write OWNER/DATASET"))
    for name, (_result, files) in contents.items():
        size = sum(map(_size, files.values()))
        if hub is None and size > LARGEST_IN_REPOSITORY:
            what = f"has {size / 1e6:.0f} MB of evidence, more than a pull request may carry"
            problems.append(Problem(name, what, "upload it with --push-to-hub OWNER/DATASET"))
    if problems:
        raise InvalidInputError(problems)


def _of_one_threat(audit: Sequence[Finding]) -> tuple[Finding, ...]:
    """Without the findings that compare threats of the run, which nobody can make again from one submission."""
    compared = {check.name for check in COMPARED}
    return tuple(finding for finding in audit if finding.check not in compared)


def _selection(settings: RunSettings) -> Selection:
    return Selection(
        split=settings.split,
        modalities=settings.modalities,
        limit=settings.sample_size,
        skip_invalid=settings.skip_invalid,
        seed=settings.seed,
    )


def _bits(journal: bytes, result: Result) -> bytes:
    outcomes = map(Outcome.model_validate_json, journal.splitlines())
    return to_csv(counted([one for one in outcomes if one.threat == result.threat.name], result.threat))


def _evidence(run: Run, result: Result, name: str, images: Path) -> Files:
    """The evidence of a result.

    Args:
        run: that it is of.
        result: as the run calls it.
        name: what the submission calls its model.
        images: where to write its witnesses, if there are any.
    """
    model, threat = result.model.id, result.threat.name
    journal = [*run.outcomes[model, CLEAN.name], *run.outcomes[model, threat]]
    of_submission = {"model": name, "tokens": None}  # which are of use to the run alone
    lines = (outcome.model_copy(update=of_submission).model_dump_json() for outcome in journal)
    files: Files = {JOURNAL: b"".join(line.encode() + b"\n" for line in lines)}
    if witnesses := _of_journal(run.witnesses(model, threat), run.outcomes[model, threat]):
        with images.open("wb") as file:
            write_rows(file, witnesses, model=name)
        files[WITNESSES] = images
    return files


def _of_journal(witnesses: Sequence[AnyWitness], outcomes: Sequence[Outcome]) -> list[AnyWitness]:
    """The witnesses that the journal names, in its order; a killed run may have left others."""
    by_digest = {(witness.question, witness.sha256): witness for witness in witnesses}
    named = ((outcome.question, outcome.witness_sha256 or "") for outcome in outcomes)
    return [by_digest[key] for key in named if key in by_digest]


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _content(content: bytes | Path) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _manifest(name: str, content: bytes | Path, hub: str | None) -> Evidence:
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fields = {"name": name, "size": _size(content), "sha256": digest, "hub": hub}
    return Evidence.model_validate(fields)


def _write_beside(path: Path, files: Files, places: Mapping[str, str]) -> None:
    """Write what is not on the hub, and remove what an earlier submission left."""
    for file in (JOURNAL, WITNESSES, ANSWERS):
        beside = evidence_folder(path) / file
        if file in files and file not in places:
            content = files[file]
            if isinstance(content, Path):
                beside.parent.mkdir(parents=True, exist_ok=True)
                content.replace(beside)
            else:
                replace_file(beside, content)
        else:
            beside.unlink(missing_ok=True)


def _move_to_hub(hub: str, folder: str, files: Files) -> dict[str, str]:
    """Upload the images, and a journal too large for the repository; returns where each file is."""
    away = {
        name: content
        for name, content in files.items()
        if name == WITNESSES or _size(content) > LARGEST_IN_REPOSITORY
    }
    return _upload(hub, folder, away) if away else {}


def _upload(repository: str, folder: str, files: Files) -> dict[str, str]:
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

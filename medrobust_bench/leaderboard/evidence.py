"""The evidence of a submission: read without trusting it, and held against the result and the data set."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from medrobust_bench.certify.fault import Declared, Fault
from medrobust_bench.certify.stored import check_stored, stored_rows
from medrobust_bench.data.image import canonical
from medrobust_bench.evaluation.audit.blindness import REPLACEMENTS, sampled_questions
from medrobust_bench.evaluation.plan import CLEAN, Plan, question_seed
from medrobust_bench.evaluation.settings import RunSettings
from medrobust_bench.evaluation.witness import SCHEMA as WITNESS_SCHEMA
from medrobust_bench.evaluation.witness import Witness
from medrobust_bench.leaderboard.entry import JOURNAL, WITNESSES, evidence_folder
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.results.schema import Outcome
from medrobust_bench.results.summary import summarise
from medrobust_bench.threats.specification import SPECIFICATION, CertificationSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.results.schema import Result
    from medrobust_bench.threats.threat import Threat

LARGEST_EVIDENCE = 2_000_000_000
"""Bytes of one file of evidence, which is read into memory."""

SHOWN = 5


@dataclass(frozen=True)
class Proof:
    """Evidence that has the size and digest of the manifest and could be read.

    Attributes:
        clean: outcomes on the clean images, in the journal's order.
        threat: outcomes under the threat.
        witnesses: the images that broke an answer.
    """

    clean: tuple[Outcome, ...]
    threat: tuple[Outcome, ...]
    witnesses: tuple[Witness, ...]


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
    if JOURNAL not in {file.name for file in entry.evidence}:
        faults.append(Fault("evidence", f"no {JOURNAL}: nothing shows how the numbers came about"))
    if faults:
        return None, faults
    outcomes, faults = _outcomes(contents[JOURNAL])
    witnesses, unreadable = _witnesses(contents.get(WITNESSES))
    faults += unreadable
    name = entry.result.threat.name
    strangers = [
        o for o in outcomes if o.threat not in (CLEAN.name, name) or o.model != entry.result.model.id
    ]
    if strangers:
        faults.append(Fault("journal", f"{len(strangers)} lines are about another model or threat"))
    clean = tuple(outcome for outcome in outcomes if outcome.threat == CLEAN.name)
    threat = tuple(outcome for outcome in outcomes if outcome.threat == name)
    return (None if faults else Proof(clean, threat, witnesses)), faults


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


def check_journal(entry: Entry, proof: Proof, dataset: Dataset) -> list[Fault]:
    """Every question once, about the published image, and every number of the result recomputed."""
    questions = {question.id: question for question in dataset.questions}
    faults = [
        *_coverage("on the clean images", proof.clean, questions),
        *_coverage("under the threat", proof.threat, questions),
    ]
    if faults:
        return faults
    by_id = {outcome.question: outcome for outcome in proof.clean}
    images = {question.id: _digest(canonical(question.image)) for question in dataset.questions}
    sampled = _asked_without_image(entry, dataset)
    checks: list[tuple[str, str, Callable[[Outcome, Question], bool]]] = [
        ("image", "is not the published one", lambda o, q: o.image_sha256 != images[o.question]),
        ("answer", "is not the published one", lambda o, q: o.answer != q.answer),
        ("modality", "is not the published one", lambda o, q: o.modality != q.modality.value),
        ("question type", "is not the published one", lambda o, q: o.question_type != q.question_type.value),
        ("choice", "is none of the options", lambda o, q: not _possible(o, q)),
        (
            "clean choice",
            "differs from the clean line",
            lambda o, q: o.clean_choice != by_id[o.question].choice,
        ),
        ("verdict", "contradicts the choice", lambda o, q: o.correct != (o.choice == o.answer)),
        (
            "blindness control",
            "is not what the plan asks without the image",
            lambda o, q: o.threat == CLEAN.name and not _controlled(o, q, asked=o.question in sampled),
        ),
    ]
    for name, what, wrong in checks:
        found = [o.question for o in (*proof.clean, *proof.threat) if wrong(o, questions[o.question])]
        if found:
            faults.append(Fault("journal", f"{name} {what}: {_some(found)}"))
    return faults or _recomputed(entry.result, proof, dataset)


def check_witnesses(entry: Entry, proof: Proof, dataset: Dataset, threat: Threat) -> list[Fault]:
    """A witness for every broken answer and no other; each an 8-bit PNG of the image's size, inside its budget."""
    broken = {o.question: o for o in proof.threat if o.attacked and not o.correct}
    faults = []
    spared = [o.question for o in proof.threat if o.attacked != (o.clean_choice == o.answer)]
    if spared:
        faults.append(
            Fault("witnesses", f"not attacked although right, or attacked although wrong: {_some(spared)}")
        )
    counts = Counter(witness.question for witness in proof.witnesses)
    if repeated := [question for question, count in counts.items() if count > 1]:
        faults.append(Fault("witnesses", f"more than one for {_some(repeated)}"))
    if missing := sorted(broken.keys() - counts.keys()):
        faults.append(Fault("witnesses", f"none for {_some(missing)}"))
    if needless := sorted(counts.keys() - broken.keys()):
        faults.append(Fault("witnesses", f"for answers that were not broken: {_some(needless)}"))
    if faults:
        return faults
    questions = {question.id: question for question in dataset.questions}
    for witness in proof.witnesses:
        what = _witness_fault(witness, broken[witness.question], questions[witness.question], entry, threat)
        if what is not None:
            faults.append(Fault("witnesses", f"{witness.question}: {what}"))
    return faults


def check_certificates(entry: Entry, proof: Proof, dataset: Dataset) -> list[Fault]:
    """The validator's checks on every certificate; no model needed."""
    specification = SPECIFICATION.validate_python(entry.result.threat.model_dump(mode="json"))
    assert isinstance(specification, CertificationSpec)
    if proof.witnesses:
        return [Fault("witnesses", "a certification breaks no answers")]
    try:
        rows = stored_rows(proof.threat, where=JOURNAL)
    except InvalidInputError as error:
        return [Fault("certificates", str(problem)) for problem in error.problems[:SHOWN]]
    if len(rows) != len(proof.threat):
        return [Fault("certificates", f"{len(proof.threat) - len(rows)} questions have none")]
    seed = entry.selection.seed
    faults = check_stored(
        rows,
        Declared(),
        specification=specification,
        questions=[question.id for question in dataset.questions],
        seed_of=lambda question: question_seed(seed, question),
    )
    return [Fault(f"certificates, {fault.check}", fault.what, fault.rows) for fault in faults]


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
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, rest = hub.partition("@")
    revision, _, file = rest.partition("/")
    if ".." in file.split("/"):
        return b"", Fault("evidence", f"{hub} leads out of its repository")
    try:
        (info,) = HfApi().get_paths_info(repository, file, repo_type="dataset", revision=revision)
        if getattr(info, "size", None) != size:
            return b"", Fault("evidence", f"{hub} has another size than its manifest says")
        local = hf_hub_download(repository, file, repo_type="dataset", revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        return b"", Fault("evidence", f"{hub} cannot be had: {str(error).splitlines()[0]}")
    return Path(local).read_bytes(), None


def _outcomes(content: bytes) -> tuple[list[Outcome], list[Fault]]:
    *lines, last = content.split(b"\n")
    if last:
        return [], [Fault("journal", "its last line is cut off")]
    outcomes = []
    for row, line in enumerate(lines, start=1):
        try:
            outcomes.append(Outcome.model_validate_json(line))
        except ValidationError as error:
            return [], [Fault("journal", f"not an outcome: {error.errors()[0]['msg']}", (row,))]
    return outcomes, []


def _witnesses(content: bytes | None) -> tuple[tuple[Witness, ...], list[Fault]]:
    if content is None:
        return (), []
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        groups = (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > 2 * len(content) + 1_000_000:
            return (), [Fault("witnesses", "unpacks to far more than it holds: PNG does not compress")]
        table = file.read()
        if not table.schema.equals(WITNESS_SCHEMA):
            return (), [Fault("witnesses", "the columns are not those of a witness file")]
        return tuple(Witness.model_validate(row) for row in table.to_pylist()), []
    except (pa.ArrowException, OSError, ValidationError) as error:
        return (), [Fault("witnesses", f"cannot be read: {str(error).splitlines()[0]}")]


def _coverage(where: str, outcomes: Sequence[Outcome], questions: Mapping[str, Question]) -> list[Fault]:
    counts = Counter(outcome.question for outcome in outcomes)
    faults = []
    if missing := [name for name in questions if name not in counts]:
        faults.append(Fault("questions", f"dropped {where}: {_some(missing)}"))
    if repeated := [name for name, count in counts.items() if count > 1]:
        faults.append(Fault("questions", f"repeated {where}: {_some(repeated)}"))
    if added := [name for name in counts if name not in questions]:
        faults.append(Fault("questions", f"not in the data set, {where}: {_some(added)}"))
    return faults


def _possible(outcome: Outcome, question: Question) -> bool:
    return outcome.choice is None or 0 <= outcome.choice < len(question.options)


def _asked_without_image(entry: Entry, dataset: Dataset) -> frozenset[str]:
    """The questions that must have been asked without their image where they were answered right."""
    plan = Plan(
        settings=RunSettings(seed=entry.selection.seed),
        data=entry.result.data,
        models=(entry.result.model.id,),
        threats=(CLEAN, entry.result.threat),
        chunks=(tuple(question.id for question in dataset.questions),),
    )
    return sampled_questions(plan)


def _controlled(outcome: Outcome, question: Question, *, asked: bool) -> bool:
    """Whether a clean outcome holds an answer to every replacement of its image, or none where none was due."""
    if not (asked and outcome.correct):
        return outcome.blind_choices is None
    given = outcome.blind_choices or {}
    options = (None, *range(len(question.options)))
    return given.keys() == set(REPLACEMENTS) and all(choice in options for choice in given.values())


def _recomputed(result: Result, proof: Proof, dataset: Dataset) -> list[Fault]:
    """Where the result differs from what its own journal gives, path by path."""
    by_id = {outcome.question: outcome for outcome in proof.threat}
    again = summarise(
        [by_id[question.id] for question in dataset.questions],
        model=result.model,
        data=result.data,
        threat=result.threat,
        seed=result.seed,
        environment=result.environment,
    )
    submitted = json.loads(result.model_dump_json(include={"metrics", "cost"}))
    recomputed = json.loads(again.model_dump_json(include={"metrics", "cost"}))
    return [
        Fault("numbers", f"{path} is {given}, its journal gives {made}")
        for path, given, made in list(_differing(submitted, recomputed))[: 2 * SHOWN]
    ]


def _differing(given: object, made: object, path: str = "") -> Iterable[tuple[str, object, object]]:
    if isinstance(given, dict) and isinstance(made, dict):
        for key in dict.fromkeys((*given, *made)):
            yield from _differing(given.get(key), made.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        for index, (left, right) in enumerate(zip(given, made, strict=True)):
            yield from _differing(left, right, f"{path}[{index}]")
    elif isinstance(given, float) and isinstance(made, int | float):
        if abs(given - made) > 1e-9:  # another platform's libm
            yield path, given, made
    elif given != made:
        yield path, given, made


def _witness_fault(
    witness: Witness, outcome: Outcome, question: Question, entry: Entry, threat: Threat
) -> str | None:
    said = (witness.model, witness.threat, witness.answer, witness.choice, witness.sha256)
    if said != (outcome.model, outcome.threat, outcome.answer, outcome.choice, outcome.witness_sha256):
        return "the witness says something else than the journal"
    if hashlib.sha256(witness.image).hexdigest() != witness.sha256:
        return "the image is not the one that was judged: another SHA-256"
    clean = canonical(question.image)
    if witness.clean_sha256 != _digest(clean):
        return "the witness was made from another clean image"
    height, width = clean.shape[:2]
    try:
        with Image.open(io.BytesIO(witness.image)) as image:
            if image.format != "PNG" or image.mode != "RGB":
                return f"the image is no 8-bit RGB PNG but {image.format}, {image.mode}"
            if image.size != (width, height):
                return f"the image has {image.size[0]} × {image.size[1]} pixels, the clean one {width} × {height}"
            pixels = np.array(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"the image cannot be decoded: {str(error).splitlines()[0]}"
    seed = question_seed(entry.selection.seed, question.id)
    return threat.budget((height, width), seed).violation(clean, pixels)


def _digest(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"

"""What the evidence of a submission must show: held against the result and the data set, opened anew."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import SHOWN, Declared, Fault
from medrobust_bench.certify.stored import check_stored, stored_rows
from medrobust_bench.data.image import canonical
from medrobust_bench.leaderboard.entry import JOURNAL
from medrobust_bench.leaderboard.png import NotPlainError, read_plain
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.run import Plan
from medrobust_bench.reports.summary import summarise
from medrobust_bench.runs.audit.blindness import REPLACEMENTS, sampled_questions
from medrobust_bench.specs.apgd import ApgdSpec
from medrobust_bench.specs.certification import CertificationSpec
from medrobust_bench.specs.kinds import read_spec
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.settings import RunSettings
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.stored import StoredRow
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.records import Outcome, Result
    from medrobust_bench.records.witness import Witness


def check_journal(entry: Entry, proof: Proof, dataset: Dataset) -> list[Fault]:
    """Every question once, about the published image, and every line in agreement with itself and the clean one."""
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
        ("modality", "is not the published one", lambda o, q: o.modality != q.modality),
        ("question type", "is not the published one", lambda o, q: o.question_type != q.question_type),
        ("choice", "is none of the options", lambda o, q: not _possible(o, q)),
        (
            "clean choice",
            "differs from the clean line",
            lambda o, q: o.clean_choice != by_id[o.question].choice,
        ),
        (
            "steadiness",
            "differs from the clean line",
            lambda o, q: o.steady != by_id[o.question].steady,
        ),
        (
            "clean line",
            "tells of an attack or a certificate",
            lambda o, q: o.threat == CLEAN.name and _more_than_clean(o),
        ),
        (
            "cost",
            "is less than the images that it tells of",
            lambda o, q: o.forward_passes < sum(len(attempt.losses) for attempt in o.attempts),
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
    return faults


def check_witnesses(entry: Entry, proof: Proof, dataset: Dataset, threat: Threat) -> list[Fault]:
    """A witness for every broken answer and no other; each an 8-bit PNG of the image's size, inside its budget."""
    broken = {o.question: o for o in proof.threat if o.attacked and not o.correct}
    faults = []
    spared = [o.question for o in proof.threat if o.attacked != (o.clean_choice == o.answer)]
    if spared:
        faults.append(
            Fault("witnesses", f"not attacked although right, or attacked although wrong: {_some(spared)}")
        )
    turned = [o.question for o in proof.threat if not o.attacked and o.choice != o.clean_choice]
    if turned:
        faults.append(Fault("witnesses", f"another answer without an attack: {_some(turned)}"))
    lazy = [o.question for o in proof.threat if o.attacked and o.correct and not _in_full(o, threat)]
    if lazy:
        faults.append(Fault("witnesses", f"left standing before the attack had run in full: {_some(lazy)}"))
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
    specification = read_spec(entry.result.threat.model_dump(mode="json"))
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
    faults += _image_faults(rows, dataset)
    return [Fault(f"certificates, {fault.check}", fault.what, fault.rows) for fault in faults]


def _image_faults(rows: Sequence[StoredRow], dataset: Dataset) -> list[Fault]:
    """Where a certificate is not about the question's own image and options, or did not take its draws."""
    questions = {question.id: question for question in dataset.questions}
    sizes = {name: canonical(question.image).shape[:2] for name, question in questions.items()}
    checks: list[tuple[str, str, Callable[[StoredRow], bool]]] = [
        (
            "image",
            "the size is not that of the published image",
            lambda row: (row.certificate.height, row.certificate.width) != sizes[row.outcome.question],
        ),
        (
            "options",
            "the counts are not of the question's options and unparsable",
            lambda row: (
                len(row.certificate.looks[-1].counts) != len(questions[row.outcome.question].options) + 1
            ),
        ),
        (
            "cost",
            "fewer passes than draws",
            lambda row: row.outcome.forward_passes < row.certificate.draws,
        ),
    ]
    return [
        Fault(name, what, lines)
        for name, what, wrong in checks
        if (lines := tuple(row.line for row in rows if wrong(row)))
    ]


def _more_than_clean(outcome: Outcome) -> bool:
    told = outcome.certificate, outcome.witness_sha256
    return any(one is not None for one in told) or bool(outcome.attempts) or outcome.attacked


def _in_full(outcome: Outcome, threat: Threat) -> bool:
    """Whether a standing question met every run of the attack to its last step, as far as its kind tells how many."""
    spec = threat.spec
    if not isinstance(spec, PgdSpec | ApgdSpec):
        return True
    long_enough = [attempt for attempt in outcome.attempts if len(attempt.losses) >= spec.steps]
    return len(long_enough) >= spec.restarts and outcome.backward_passes >= spec.steps * spec.restarts


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


def check_numbers(result: Result, proof: Proof, dataset: Dataset) -> list[Fault]:
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
        pixels = read_plain(witness.image, (width, height))
    except NotPlainError as error:
        return f"the image {error}"
    seed = question_seed(entry.selection.seed, question.id)
    return threat.budget((height, width), seed).violation(clean, pixels)


def _digest(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"

"""Whether a submission can be believed: checked on a CPU, without attacking and without the model.

A submission is *accepted* when nothing is wrong with it. It is *ranked* when, on top of that, it answers an official
set of questions under an official threat and its audit leaves no doubt; otherwise it is shown without a rank.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.attacks.threat import Threat
from medrobust_bench.certify.fault import Fault
from medrobust_bench.data.source import PHANTOMS, open_data, sample
from medrobust_bench.leaderboard.altered import check_alterations
from medrobust_bench.leaderboard.claims import (
    check_certificates,
    check_journal,
    check_numbers,
    check_witnesses,
)
from medrobust_bench.leaderboard.draft import unfilled
from medrobust_bench.leaderboard.entry import ENTRY_VERSION, WITNESSES, Entry, entry_path
from medrobust_bench.leaderboard.evidence import read_proof
from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.strict_json import read_strictly
from medrobust_bench.models.cards import card_of
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import SCHEMA_VERSION
from medrobust_bench.runs.audit.blindness import DEPENDENCE
from medrobust_bench.runs.audit.carried import carried_audit
from medrobust_bench.runs.audit.rivalry import COMPARED
from medrobust_bench.runs.threats import open_altering, open_threat
from medrobust_bench.specs.certification import CertificationSpec
from medrobust_bench.specs.kinds import read_spec
from medrobust_bench.specs.registry import load_specification, official_threats
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Finding
    from medrobust_bench.specs.threat import ThreatSpec

OFFICIAL_SIZES = (100, 300, 1000)
"""Nested samples that are ranked, beside the whole split; see `medrobust leaderboard subset`."""

LARGEST_FILE = 5_000_000
"""Bytes of a submission file; an honest one has a few thousand."""

LONGEST_MEANING = 300
"""Characters of what a finding means, where it cannot be made again."""

_NAME = re.compile(r"[A-Za-z0-9]([\w.+/ -]{0,118}\w)?", re.ASCII)
_THREAT = re.compile(r"[A-Za-z0-9]([\w.+:=,/-]{0,198}\w)?", re.ASCII)
_FILES = (".json", ".jsonl", ".yaml", ".yml", ".parquet", ".md")
"""Endings of names that would be taken for files."""

RESERVED = ("clean", "worst-case")
"""What is no threat of its own."""


@dataclass(frozen=True)
class Verdict:
    """What came of checking one submission.

    Attributes:
        path: the submission file.
        faults: what is wrong; accepted only if nothing is.
        unranked: why an accepted submission has no rank.
        entry: what the file holds, where it could be read.
        proof: its evidence, where it could be read.
        dataset: the questions asked, opened anew.
    """

    path: Path
    faults: tuple[Fault, ...]
    unranked: tuple[str, ...] = ()
    entry: Entry | None = None
    proof: Proof | None = None
    dataset: Dataset | None = None

    @property
    def accepted(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def ranked(self) -> bool:
        """Whether it takes part in the ranking."""
        return self.accepted and not self.unranked


def verify(path: Path, *, cards: Mapping[str, Card], data: Mapping[str, str] | None = None) -> Verdict:
    """Check one submission.

    Args:
        path: `<data>/<threat>/<model>.json`, with its evidence beside it or on the hub.
        cards: the model registry.
        data: by data set name, where it is on this machine; phantoms need no place.

    Raises:
        InvalidInputError: the data set is not at hand: nothing can be said about the submission then.
    """
    entry, faults = read_entry(path)
    if entry is None:
        return Verdict(path, tuple(faults))
    if hostile := _check_names(entry):
        return Verdict(path, tuple(hostile))
    if entry.submitted > datetime.now(UTC).date():
        faults.append(Fault("date", f"was submitted on {entry.submitted}, which is yet to come"))
    expected = entry_path(entry.result)
    if path.absolute().as_posix().split("/")[-3:] != expected.split("/"):
        faults.append(Fault("names", f"the file belongs at {expected}"))
    specification, unofficial = _check_threat(entry)
    faults += unofficial
    faults += _check_model(entry, cards)
    dataset = open_selection(entry, data or {})
    faults += _check_data(entry, dataset)
    proof, unreadable = read_proof(path, entry)
    faults += unreadable
    if proof is not None and not any(fault.check == "data" for fault in faults):
        faults += _check_evidence(entry, proof, dataset, specification)
    return Verdict(path, tuple(faults), tuple(unranked(entry)), entry, proof, dataset)


def read_entry(path: Path) -> tuple[Entry | None, list[Fault]]:
    """Read a submission file without trusting it."""
    try:
        if any(part.is_symlink() for part in (path, *path.absolute().parents[:2])):
            return None, [Fault("file", "is a link, or stands behind one")]
        if path.stat().st_size > LARGEST_FILE:
            return None, [
                Fault("file", f"has {path.stat().st_size} bytes, at most {LARGEST_FILE} are allowed")
            ]
        content = path.read_bytes()
        document = read_strictly(content)
    except OSError as error:
        raise InvalidInputError(
            [Problem(str(path), f"cannot be read: {error.strerror}", "give a submission file (*.json)")]
        ) from error
    except ValueError as error:
        return None, [Fault("file", f"is not valid JSON: {str(error).splitlines()[0]}")]
    if not isinstance(document, dict) or "entry_version" not in document:
        return None, [Fault("file", "is no submission: write it with `medrobust submit`")]
    result = document.get("result")
    versions = document["entry_version"], result.get("schema_version") if isinstance(result, dict) else None
    if versions != (ENTRY_VERSION, SCHEMA_VERSION):
        what = f"has versions {versions}, this program reads ({ENTRY_VERSION!r}, {SCHEMA_VERSION!r}): run again with it"
        return None, [Fault("schema", what)]
    try:
        return Entry.model_validate_json(content), []
    except ValidationError as error:
        return None, [
            Fault("schema", f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
            for fault in error.errors()[:10]
        ]


def open_selection(entry: Entry, data: Mapping[str, str]) -> Dataset:
    """The questions that a submission says it asked, from the data set on this machine.

    Raises:
        InvalidInputError: the data set is not at hand or cannot be opened.
    """
    name, chosen = entry.result.data.name, entry.selection
    source = data.get(name, PHANTOMS if name == PHANTOMS else None)
    if source is None:
        raise InvalidInputError(
            [Problem(name, "the data set is needed to check this", f"say where it is: --data {name}=PATH")]
        )
    dataset = open_data(
        source, split=chosen.split, skip_invalid=chosen.skip_invalid, modalities=chosen.modalities
    )
    return dataset if chosen.limit is None else sample(dataset, chosen.limit, seed=chosen.seed)


def _check_names(entry: Entry) -> list[Fault]:
    """Names stand in paths, tables and pages: nothing else of a submission is looked at before they are harmless."""
    result = entry.result
    named = [
        ("model id", result.model.id, _NAME),
        ("data set", result.data.name, _NAME),
        ("threat", result.threat.name, _THREAT),
    ]
    return [
        Fault("names", f"{what} {name[:60]!r} holds characters that names may not hold")
        for what, name, form in named
        if not form.fullmatch(name) or ".." in name or name.endswith(_FILES)
    ]


def _check_threat(entry: Entry) -> tuple[ThreatSpec | None, list[Fault]]:
    """The threat's specification must be exactly what its name stands for."""
    threat = entry.result.threat
    try:
        specification = read_spec(threat.model_dump(mode="json"))
    except ValidationError as error:
        return None, [Fault("threat", f"is no specification: {error.errors()[0]['msg']}")]
    official = {one.name for one in official_threats()}
    if specification.name in RESERVED:
        return None, [Fault("threat", f"{specification.name} is not the name of an attack")]
    if specification.name.partition(":")[0] not in official:
        alike = {slug(name).lower(): name for name in official}.get(slug(specification.name).lower())
        what = f"{specification.name} would be taken for {alike}"
        return specification, [] if alike is None else [Fault("threat", what)]
    try:
        meant = load_specification(specification.name)
    except InvalidInputError as error:
        return specification, [Fault("threat", f"its name stands for nothing: {error.problems[0].what}")]
    before, after = meant.model_dump(mode="json"), specification.model_dump(mode="json")
    return specification, [
        Fault("threat", f"{field} is {after.get(field)}, {specification.name} means {before.get(field)}")
        for field in dict.fromkeys((*before, *after))
        if before.get(field) != after.get(field)
    ]


def _check_model(entry: Entry, cards: Mapping[str, Card]) -> list[Fault]:
    model = entry.result.model
    card = card_of(model.id, cards)
    if card is None:
        return [Fault("model", f"{model.id} has no card in model_cards/: `medrobust submit` drafts one")]
    faults = []
    if missing := unfilled(card):
        faults.append(Fault("model", f"its card is a draft, to be completed: {', '.join(missing)}"))
    expected: list[tuple[str, str, str | None]] = [("answer mode", card.answer_mode.value, model.answer_mode)]
    if card.weights_sha256 is not None:
        expected.append(("dtype", card.dtype, model.dtype))
    if card.revision is not None:
        expected.append(("revision", card.revision, model.revision))
    faults += [
        Fault("model", f"{what} is {given}, its card says {meant}")
        for what, meant, given in expected
        if meant != given
    ]
    if card.weights_sha256 not in (None, model.weights_sha256):
        faults.append(Fault("model", f"weights {model.weights_sha256[:12]}… are not those of its card"))
    if card.smoothing != model.smoothing:
        faults.append(Fault("model", "is not smoothed as its card says"))
    twins = [
        other.id
        for other in cards.values()
        if other.id != card.id
        and other.weights_sha256 == model.weights_sha256
        and (other.answer_mode, other.smoothing) == (card.answer_mode, card.smoothing)
    ]
    if twins:
        faults.append(Fault("model", f"has the weights of {', '.join(twins)}"))
    return faults


def _check_data(entry: Entry, dataset: Dataset) -> list[Fault]:
    data, seed = entry.result.data, entry.selection.seed
    pairs = [
        ("number of questions", data.n, len(dataset.questions)),
        ("split", data.split, dataset.split),
        ("digest", data.digest, dataset.digest()),
        ("synthetic", data.synthetic, dataset.synthetic),
        ("number of rows left out", len(data.skipped), len(dataset.skipped)),
        ("seed", entry.result.seed, seed),
    ]
    return [
        Fault("data", f"{what} is {said}, the selection gives {found}")
        for what, said, found in pairs
        if said != found
    ]


def _check_evidence(
    entry: Entry, proof: Proof, dataset: Dataset, specification: ThreatSpec | None
) -> list[Fault]:
    """What the evidence does not bear out, each part once the parts that it rests on are in order."""
    faults = check_journal(entry, proof, dataset)
    if specification is None or any(fault.check == "questions" for fault in faults):
        return faults
    faults += _check_claims(entry, proof, dataset, specification)
    if any(fault.check.startswith("certificates") for fault in faults):
        return faults
    faults += check_numbers(entry.result, proof, dataset)
    return faults or _check_audit(entry, proof, dataset)


def _check_claims(entry: Entry, proof: Proof, dataset: Dataset, specification: ThreatSpec) -> list[Fault]:
    if isinstance(specification, CertificationSpec):
        return check_certificates(entry, proof, dataset)
    if any(outcome.certificate is not None for outcome in proof.threat):
        return [Fault("certificates", "an attack certifies nothing")]
    if specification.remade:
        return check_alterations(entry, proof, dataset, open_altering(specification))
    if any(outcome.alterations for outcome in proof.threat):
        return [Fault("witnesses", "an attack stores its images, and alters none that can be made again")]
    listed = {file.name for file in entry.evidence}
    broken = any(outcome.attacked and not outcome.correct for outcome in proof.threat)
    if broken and WITNESSES not in listed:
        return [Fault("witnesses", "answers were broken, and no image is there to show it")]
    threat = open_threat(specification)
    assert isinstance(threat, Threat)
    return check_witnesses(entry, proof, dataset, threat)


def _check_audit(entry: Entry, proof: Proof, dataset: Dataset) -> list[Fault]:
    """Every finding that the journal gives must be reported, as it is, and nothing else.

    Findings that compare several threats of a run cannot be made again from one, and may stand beside.
    """
    options = {question.id: len(question.options) for question in dataset.questions}
    clean, threat = carried_audit(
        [(CLEAN, list(proof.clean)), (entry.result.threat, list(proof.threat))], options
    )
    faults = []
    for where, given, made in (("", entry.result.audit, threat), ("clean: ", entry.clean_audit, clean)):
        reported = {finding.check: finding for finding in given}
        if len(reported) < len(given):
            faults.append(Fault("audit", f"{where}a check is reported more than once"))
        for finding in made:
            told = reported.get(finding.check)
            if told is None:
                faults.append(Fault("audit", f"{where}{finding.check} is left out: {finding.meaning}"))
            elif not _alike(told, finding):
                what = (
                    f"{told.verdict}, {told.meaning}; its journal gives {finding.verdict}, {finding.meaning}"
                )
                faults.append(Fault("audit", f"{where}{finding.check} is {what}"))
        sources = {} if where else {check.name: check.source for check in COMPARED}
        for finding in given:
            if finding.check in {one.check for one in made}:
                continue
            if sources.get(finding.check) != finding.source or len(finding.meaning) > LONGEST_MEANING:
                faults.append(
                    Fault("audit", f"{where}{finding.check[:80]} is nothing that its journal gives")
                )
    return faults


def _alike(told: Finding, made: Finding) -> bool:
    """Whether two findings say the same, up to the last digit of another platform's arithmetic."""
    values = told.value, made.value
    same = told.model_copy(update={"value": None}) == made.model_copy(update={"value": None})
    if not all(isinstance(value, float) for value in values):
        return same and values[0] == values[1]
    return same and math.isclose(*values, rel_tol=1e-9, abs_tol=1e-12)  # type: ignore[arg-type]


def unranked(entry: Entry) -> list[str]:
    """Why a submission takes no part in the ranking, even where nothing is wrong with it."""
    chosen, audit = entry.selection, (*entry.clean_audit, *entry.result.audit)
    reasons = []
    official = [one.model_dump(mode="json") for one in official_threats()]
    if entry.result.threat.model_dump(mode="json") not in official:
        reasons.append("not an official threat")
    if chosen.split != "test" or chosen.modalities or chosen.seed != 0:
        reasons.append("not the official questions: whole test split, seed 0")
    if chosen.limit is not None and chosen.limit not in OFFICIAL_SIZES:
        reasons.append(f"not an official sample: {', '.join(map(str, OFFICIAL_SIZES))} questions or all")
    if chosen.skip_invalid and entry.result.data.skipped:
        reasons.append("rows of the data set were left out")
    if DEPENDENCE.name not in {finding.check for finding in audit}:
        reasons.append("no audit shows that answers depend on the image")
    failed = [finding.check for finding in audit if finding.verdict == "fail"]
    if failed:
        reasons.append(f"its audit failed: {', '.join(failed)}")
    return reasons

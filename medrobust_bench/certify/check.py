"""`medrobust certify check`: everything about published certificates that needs no model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.certify.contradiction import contradictions
from medrobust_bench.certify.fault import Declared, Fault, count_fault
from medrobust_bench.certify.published_log import check_log, hidden_by_rounding, read_log
from medrobust_bench.certify.stored import StoredRow, check_result, check_stored, stored_rows
from medrobust_bench.data.reopen import open_asked
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Result
from medrobust_bench.records.folder import RunFolder
from medrobust_bench.records.journal import Journal
from medrobust_bench.records.witness import stored_witnesses
from medrobust_bench.reports.summary import scores
from medrobust_bench.specs.certification import CertificationSpec
from medrobust_bench.specs.registry import load_specification, official_threats
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.records import Outcome, Scores
    from medrobust_bench.records.run import RunRecord
    from medrobust_bench.specs.threat import ThreatSpec


def check_path(path: Path, declared: Declared, *, against: Path | None = None) -> list[Fault]:
    """Everything that is wrong with one file of certificates.

    Args:
        path: a run folder, a journal (`*.jsonl`), a result file (`*.json`), or a tab-separated log.
        declared: what its author says; n, alpha and sigma are needed for a log.
        against: a run folder with attacks on the same smoothed model; only with a run folder.

    Raises:
        InvalidInputError: the file cannot be read, or too little is declared.
    """
    if against is not None and not path.is_dir():
        what = "can only be held against a run's own certificates"
        raise InvalidInputError([Problem("--against", what, f"give the run folder of {path.name}")])
    if path.is_dir():
        faults = _check_folder(path, declared)
        return faults if against is None else faults + _check_against(path, against)
    if path.suffix == ".jsonl":
        return _check_journal(path, declared)
    if path.suffix == ".json":
        return _check_result_file(path, declared)
    missing = [name for name in ("n", "alpha", "sigma") if getattr(declared, name) is None]
    if missing:
        flags = " ".join(f"--{name}" for name in missing)
        what = "carries no counts, so its setting must be declared"
        raise InvalidInputError([Problem(str(path), what, f"add {flags}")])
    return check_log(read_log(path), declared)


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Radii whose rounding hides whether they are right.

    Attributes:
        radii: how many of them could be a quarter larger without being noticed.
        of: certified radii of the file.
    """

    radii: int
    of: int

    @property
    def everything(self) -> bool:
        """Whether this is so for all of them."""
        return self.radii == self.of

    def __str__(self) -> str:
        return (
            f"rounding: {self.radii} of {self.of} radii could be a quarter larger without being noticed, as they are "
            "rounded: publish more digits, or the counts"
        )


def unchecked(path: Path, declared: Declared) -> Unchecked | None:
    """What of a log could not be checked; None where all of it was, and for files that carry counts.

    Args:
        path: as of `check_path`.
        declared: as of `check_path`.
    """
    if path.is_dir() or path.suffix in (".jsonl", ".json"):
        return None
    radii, of = hidden_by_rounding(read_log(path), declared)
    return Unchecked(radii, of) if radii else None


def certified_groups(folder: RunFolder) -> list[tuple[str, CertificationSpec, list[StoredRow]]]:
    """The certificates of a run, by model and certification, in the plan's order.

    Raises:
        InvalidInputError: the folder holds no run, or one without certification.
    """
    plan = folder.read().plan
    threats = [threat for threat in plan.threats if isinstance(threat, CertificationSpec)]
    if not threats:
        what = "holds a run without certification"
        raise InvalidInputError([Problem(str(folder.path), what, "run with --threat certified-l2")])
    rows = stored_rows(folder.journal.written(), where=str(folder.journal.path))
    return [
        (
            model,
            threat,
            [row for row in rows if (row.outcome.model, row.outcome.threat) == (model, threat.name)],
        )
        for model in plan.models
        for threat in threats
    ]


def _check_folder(path: Path, declared: Declared) -> list[Fault]:
    folder = RunFolder(path)
    plan = folder.read().plan
    questions = [question for chunk in plan.chunks for question in chunk]
    faults = _disagreements(folder.journal.read())
    for model, threat, rows in certified_groups(folder):
        name = threat.name
        if not rows:
            faults.append(Fault("rows", f"no certificate of {model} under {name}, though it was planned"))
            continue
        found = check_stored(
            rows,
            declared,
            specification=threat,
            questions=questions,
            seed_of=partial(question_seed, plan.settings.seed),
        )
        found += _name_faults(threat)
        found += _check_published(folder.result_path(model, name), rows, threat)
        faults += [Fault(fault.check, f"{model} under {name}: {fault.what}", fault.rows) for fault in found]
    return faults


def _name_faults(threat: CertificationSpec) -> list[Fault]:
    """Whether a certification is what its name says, where the name is an official one, with overrides or without."""
    if threat.name.partition(":")[0] not in {official.name for official in official_threats()}:
        return []
    if load_specification(threat.name) == threat:
        return []
    return [Fault("setting", f"is called {threat.name}, but is another certification")]


def _disagreements(outcomes: Sequence[Outcome]) -> list[Fault]:
    """Whether all lines about a question, clean ones among them, speak of one image, answer and modality."""
    first: dict[str, tuple[object, ...]] = {}
    lines = tuple(
        line
        for line, outcome in enumerate(outcomes, start=1)
        if (about := (outcome.image_sha256, outcome.answer, outcome.modality, outcome.question_type))
        != first.setdefault(outcome.question, about)
    )
    what = "image, right answer, modality or type are not those of the question's first line"
    return [Fault("answers", what, lines)] if lines else []


def _check_published(path: Path, rows: list[StoredRow], threat: ThreatSpec) -> list[Fault]:
    """Hold a run's result file against the certificates that it summarises."""
    if not path.exists():
        return []
    result = _read_result(path)
    faults = check_result(result)
    if result.threat != threat:
        faults.append(Fault("summary", f"the certification in {path.name} is not the one that was planned"))
    outcomes = [row.outcome for row in rows]
    groups: list[tuple[str, Scores, list[Outcome]]] = [("all questions", result.metrics, outcomes)]
    for name, part in result.metrics.by_modality.items():
        groups.append((name, part, [outcome for outcome in outcomes if outcome.modality == name]))
    for name, part in result.metrics.by_question_type.items():
        groups.append((name, part, [outcome for outcome in outcomes if outcome.question_type == name]))
    for name, published, group in groups:
        if not group or published.certified_accuracy != scores(group, threat).certified_accuracy:
            what = f"certified accuracy of {name} in {path.name} is not that of the certificates"
            faults.append(Fault("summary", what))
    return faults


def _check_journal(path: Path, declared: Declared) -> list[Fault]:
    rows = stored_rows(Journal(path).written(), where=str(path))
    if not path.is_file() or not rows:
        what = "holds no certificates" if path.is_file() else "is no file"
        raise InvalidInputError([Problem(str(path), what, "give the journal of a run with certification")])
    groups: dict[tuple[str, str], list[StoredRow]] = {}
    for row in rows:
        groups.setdefault((row.outcome.model, row.outcome.threat), []).append(row)
    return [
        Fault(fault.check, f"{model} under {threat}: {fault.what}", fault.rows)
        for (model, threat), group in groups.items()
        for fault in check_stored(group, declared)
    ]


def _check_result_file(path: Path, declared: Declared) -> list[Fault]:
    result = _read_result(path)
    if not result.metrics.certified_accuracy:
        what = "holds no certified accuracy"
        raise InvalidInputError([Problem(str(path), what, "give the result of a certification")])
    if not isinstance(result.threat, CertificationSpec):
        what = f"is of kind {result.threat.kind}, no certification"
        raise InvalidInputError([Problem(str(path), what, "give the result of a certification")])
    faults = count_fault(result.data.n, declared.expect) + _name_faults(result.threat) + check_result(result)
    radii = [float(radius) for radius in result.threat.radii]
    if [point.radius for point in result.metrics.certified_accuracy] != radii:
        faults.append(Fault("setting", "the radii are not those of the certification"))
    return faults


def _read_result(path: Path) -> Result:
    try:
        return Result.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        what = f"is no result file: {str(error).splitlines()[0]}"
        raise InvalidInputError([Problem(str(path), what, "give a file from a run's results/")]) from error


def _check_against(path: Path, against: Path) -> list[Fault]:
    """Hold the certificates of one run against the witnesses that another found on the same smoothed models."""
    attacked = RunFolder(against).read()
    dataset = open_asked(attacked.plan.settings)
    questions = {question.id: question for question in dataset.questions}
    witnesses = [
        witness
        for file in sorted((against / "witnesses").glob("*.parquet"))
        for witness in stored_witnesses(file)
    ]
    clean = [outcome for outcome in RunFolder(against).journal.read() if outcome.threat == CLEAN.name]
    certified = RunFolder(path).read()
    faults, compared = [], 0
    for model, _threat, rows in certified_groups(RunFolder(path)):
        smoothed = _smoothed_names(certified, model, attacked, rows)
        compared += len(smoothed)
        faults += contradictions(
            rows,
            [witness for witness in witnesses if witness.model in smoothed],
            questions,
            clean=[outcome for outcome in clean if outcome.model in smoothed],
        )
    if not compared:
        what = "attacks no smoothed model with the weights and σ of a certified one"
        remedy = "attack a card with the same weights and `smoothing:` with the same σ"
        raise InvalidInputError([Problem(str(against), what, remedy)])
    return faults


def _smoothed_names(certified: RunRecord, model: str, attacked: RunRecord, rows: list[StoredRow]) -> set[str]:
    """What the attacked run calls the smoothed form of a certified model."""
    if model not in certified.models or not rows:
        return set()
    weights, certificate = certified.models[model].weights_sha256, rows[0].certificate
    return {
        name
        for name, record in attacked.models.items()
        if record.weights_sha256 == weights is not None
        and record.smoothing is not None
        and (record.smoothing.sigma, record.smoothing.base) == (certificate.sigma, certificate.base)
    }

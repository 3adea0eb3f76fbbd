"""Two runs on the same questions under the same threats, held against each other question by question.

The current run may ask fewer: a sample of the baseline's questions is compared with the baseline on that sample.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pydantic import Field
from statsmodels.stats.multitest import multipletests

from medrobust_bench.data.reopen import reopen
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import DataRecord, ModelRecord, Record
from medrobust_bench.reports.paired import Paired, difference_interval, exact_p_value, smallest_detectable
from medrobust_bench.reports.summary import is_certified
from medrobust_bench.specs.certification import CertificationSpec
from medrobust_bench.specs.exact import exact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.records import Outcome
    from medrobust_bench.records.run import Plan
    from medrobust_bench.reports.answered_run import AnsweredRun
    from medrobust_bench.specs.threat import ThreatSpec

SCHEMA_VERSION = "1.0"


class Difference(Record):
    """How two models differ on one group of questions."""

    n: int = Field(description="Number of questions")
    images: int = Field(description="Number of images that they are about")
    baseline: float = Field(description="Accuracy of the baseline")
    current: float = Field(description="Accuracy of the current model")
    lost: int = Field(description="Questions that only the baseline answers right")
    gained: int = Field(description="Questions that only the current model answers right")
    difference: float = Field(description="Current less baseline")
    low: float = Field(description="Lower end of the 95 % interval, questions grouped by image")
    high: float = Field(description="Upper end of the same")
    p_value: float = Field(description="Exact two-sided McNemar test, whole images exchanged")
    p_holm: float | None = Field(
        default=None, description="The same, corrected by Holm for the number of groups; null for the whole"
    )
    detectable: float = Field(
        description="Smallest true difference that this sample would have shown at 5 % in 4 of 5 cases"
    )
    design_effect: float = Field(
        description="By how much questions about the same image inflate the variance"
    )


class Measure(Record):
    """One accuracy of two models: clean, under an attack, or certified at a radius."""

    threat: str
    name: str = Field(description="clean, robust, or certified with its radius")
    whole: Difference
    by_modality: dict[str, Difference]


class Comparison(Record):
    """A baseline and a current model on the same questions."""

    schema_version: str = SCHEMA_VERSION
    baseline: ModelRecord
    current: ModelRecord
    data: DataRecord
    seed: int
    measures: tuple[Measure, ...]
    notes: tuple[str, ...] = Field(description="What else differs and does not forbid the comparison")


def compare(
    baseline: AnsweredRun,
    current: AnsweredRun,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    threats: Sequence[str] = (),
) -> list[Comparison]:
    """Compare the models of two runs.

    Args:
        baseline: the run that sets the standard.
        current: the run that is measured against it; may be the same one, and may ask only a part of the baseline's
            questions (the data set must then be at hand, where this run found it).
        pairs: (model of the baseline, model of the current run); by default the models of equal name, or the
            only model of each.
        threats: names of the threats to compare; by default all.

    Returns:
        One comparison per pair.

    Raises:
        InvalidInputError: naming everything that keeps the runs from being compared.
    """
    problems = _differences(baseline, current)
    chosen, unpaired = _pairs(baseline, current, pairs)
    names, missing = _threats(baseline, current, threats)
    problems += [*unpaired, *missing]
    if problems:
        raise InvalidInputError(list(dict.fromkeys(problems)))
    return [_compare(baseline, current, old, new, names) for old, new in chosen]


def _differences(baseline: AnsweredRun, current: AnsweredRun) -> list[Problem]:
    """What keeps two runs from being compared at all."""
    where = f"{baseline.folder} and {current.folder}"
    old, new = baseline.record.plan, current.record.plan
    fields = [
        ("data set", old.data.name, new.data.name),
        ("split", old.data.split, new.data.split),
        ("seed", old.settings.seed, new.settings.seed),
    ]
    if not _asks_a_part(old, new):
        fields += [
            ("number of questions", old.data.n, new.data.n),
            ("digest of the questions", old.data.digest, new.data.digest),
        ]
    remedy = "evaluate both models with the same --data, --split, --modality, --limit and --seed"
    return [
        Problem(where, f"{name} differs: {before} and {after}", remedy)
        for name, before, after in fields
        if before != after
    ]


def _asks_a_part(old: Plan, new: Plan) -> bool:
    """Whether a plan asks only some of another's questions; both are held against the data set as it is now."""
    asked, before = (frozenset(chain.from_iterable(plan.chunks)) for plan in (new, old))
    if old.data.name != new.data.name or not asked < before:
        return False
    for plan in (old, new):
        reopen(plan, data=new.settings.data, images=new.settings.images)
    return True


def _pairs(
    baseline: AnsweredRun, current: AnsweredRun, wanted: Sequence[tuple[str, str]]
) -> tuple[list[tuple[str, str]], list[Problem]]:
    old, new = baseline.record.plan.models, current.record.plan.models
    if wanted:
        problems = [
            Problem(
                str(run.folder), f"has no model {name!r}", f"use one of {', '.join(run.record.plan.models)}"
            )
            for pair in wanted
            for run, name in zip((baseline, current), pair, strict=True)
            if name not in run.record.plan.models
        ]
        return list(dict.fromkeys(wanted)), problems
    if len(old) == len(new) == 1:
        return [(old[0], new[0])], []
    alone = [name for name in old if name not in new]
    if not alone:
        return [(name, name) for name in old], []
    what = f"has no {' and no '.join(alone)}, as the baseline has; it has {', '.join(new)}"
    remedy = "say which to compare with --pair BASELINE=CURRENT"
    return [], [Problem(str(current.folder), what, remedy)]


def _threats(
    baseline: AnsweredRun, current: AnsweredRun, wanted: Sequence[str]
) -> tuple[list[ThreatSpec], list[Problem]]:
    old = {threat.name: threat for threat in baseline.threats}
    new = {threat.name: threat for threat in current.threats}
    problems = []
    for name in dict.fromkeys(wanted or (*old, *new)):
        for run, known in ((baseline, old), (current, new)):
            if name not in known:
                remedy = f"measure it there as well, or choose with --threat among {', '.join(known)}"
                problems.append(Problem(str(run.folder), f"was not run under threat {name!r}", remedy))
        if name in old and name in new:
            before, after = old[name].model_dump(mode="json"), new[name].model_dump(mode="json")
            problems += [
                Problem(
                    f"threat {name}",
                    f"{field} differs: {before.get(field)} and {after.get(field)}",
                    "run both under the same specification",
                )
                for field in dict.fromkeys((*before, *after))
                if before.get(field) != after.get(field)
            ]
    return [old[name] for name in dict.fromkeys(wanted or old) if name in old], problems


def _compare(
    baseline: AnsweredRun, current: AnsweredRun, old: str, new: str, threats: Sequence[ThreatSpec]
) -> Comparison:
    measures = []
    known, asked = _planned(baseline), _planned(current)
    left_out: set[str] = set()
    for threat in threats:
        of_baseline = {outcome.question: outcome for outcome in baseline.outcomes[old, threat.name]}
        of_current = {outcome.question: outcome for outcome in current.outcomes[new, threat.name]}
        before = {name: outcome for name, outcome in of_baseline.items() if name in of_current}
        after = {name: one for name, one in of_current.items() if name in before or name not in known}
        left_out |= (asked & known) - before.keys()  # they failed in one of the runs
        _same_questions(before, after, threat.name)
        rows = [(outcome, after[question]) for question, outcome in before.items()]
        measures += [_measure(threat, name, right, rows) for name, right in _verdicts(threat)]
    return Comparison(
        baseline=baseline.record.models[old],
        current=current.record.models[new],
        data=current.record.plan.data,
        seed=baseline.record.plan.settings.seed,
        measures=tuple(measures),
        notes=(
            *_notes(baseline, current, old, new),
            *([f"{len(left_out)} questions failed in one of the runs, and are left out"] if left_out else []),
        ),
    )


def _planned(run: AnsweredRun) -> set[str]:
    """Ids of the questions that a run was to ask."""
    return {question for chunk in run.record.plan.chunks for question in chunk}


def _same_questions(before: dict[str, Outcome], after: dict[str, Outcome], threat: str) -> None:
    """The data digests agree; hold the journals themselves against each other as well."""
    problems = [
        Problem(
            f"threat {threat}, question {question}",
            f"{field} differs between the journals",
            "one of the journals was changed or comes from other data: run it again",
        )
        for question in before
        for field in ("answer", "modality", "image_sha256")
        if question in after and getattr(before[question], field) != getattr(after[question], field)
    ]
    problems += [
        Problem(f"threat {threat}, question {question}", "is not in the baseline's journal", "run it again")
        for question in sorted(after.keys() - before.keys())
    ]
    if problems:
        raise InvalidInputError(problems[:20])


def _verdicts(threat: ThreatSpec) -> list[tuple[str, Callable[[Outcome], bool]]]:
    """What is measured under a threat: the name of each accuracy, and when an outcome counts as right."""
    if isinstance(threat, CertificationSpec):
        return [
            (f"certified ≥ {exact_text(radius)}", _certified_at(float(radius))) for radius in threat.radii
        ]
    name = "right on every corrupted image" if threat.yields == "corrupted" else threat.yields
    return [(name, lambda outcome: outcome.correct)]


def _certified_at(radius: float) -> Callable[[Outcome], bool]:
    return lambda outcome: is_certified(outcome, radius)


def _measure(
    threat: ThreatSpec,
    name: str,
    right: Callable[[Outcome], bool],
    rows: Sequence[tuple[Outcome, Outcome]],
) -> Measure:
    modalities = sorted({before.modality for before, _after in rows})
    groups = {
        modality: _difference([row for row in rows if row[0].modality == modality], right)
        for modality in modalities
    }
    corrected = multipletests([group.p_value for group in groups.values()], method="holm")[1]
    return Measure(
        threat=threat.name,
        name=name,
        whole=_difference(rows, right),
        by_modality={
            modality: group.model_copy(update={"p_holm": float(p)})
            for (modality, group), p in zip(groups.items(), corrected, strict=True)
        },
    )


def _difference(rows: Sequence[tuple[Outcome, Outcome]], right: Callable[[Outcome], bool]) -> Difference:
    pairs = Paired.of(
        [right(before) for before, _after in rows],
        [right(after) for _before, after in rows],
        [before.cluster for before, _after in rows],
    )
    interval = difference_interval(pairs)
    return Difference(
        n=pairs.n,
        images=pairs.n_images,
        baseline=float(pairs.baseline.mean()),
        current=float(pairs.current.mean()),
        lost=pairs.lost,
        gained=pairs.gained,
        difference=pairs.difference,
        low=interval.low,
        high=interval.high,
        p_value=exact_p_value(pairs),
        detectable=smallest_detectable(pairs),
        design_effect=pairs.design_effect,
    )


def _notes(baseline: AnsweredRun, current: AnsweredRun, old: str, new: str) -> list[str]:
    before, after = baseline.record.models[old], current.record.models[new]
    notes = []
    whole, asked = baseline.record.plan.data.n, current.record.plan.data.n
    if asked < whole:
        notes.append(f"on {asked} of the baseline's {whole} questions")
    same_weights = before.weights_sha256 == after.weights_sha256 is not None
    parts = []
    if before.identity is not None and after.identity is not None:
        parts = before.identity.differences(after.identity)
    if parts:
        same = "both have the same weights, but " if same_weights else ""
        notes.append(f"{same}another model is compared: another {', another '.join(parts)}")
    elif same_weights:
        notes.append("both have the same weights")
    for name in ("revision", "dtype", "answer_mode", "server", "trust_remote_code", "draws", "smoothing"):
        told = [_told(getattr(model, name)) for model in (before, after)]
        if told[0] != told[1]:
            notes.append(f"{name.replace('_', ' ')}: {' and '.join(told)}")
    old_environment = baseline.record.environment.model_dump()
    for name, value in current.record.environment.model_dump().items():
        if old_environment[name] != value:
            notes.append(f"{name}: {old_environment[name]} and {value}")
    return notes


def _told(value: object) -> str:
    """A field of a model's record, for a note."""
    if isinstance(value, Record):
        return ", ".join(f"{name} {one}" for name, one in value)
    return "none" if value is None else str(value)

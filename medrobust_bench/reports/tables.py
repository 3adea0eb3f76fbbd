"""The tables of a run: accuracy of every model under every threat, and the same by imaging modality."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from medrobust_bench.problems import printable
from medrobust_bench.records import AnswerKind, Tier
from medrobust_bench.reports.grid import MISSING, Grid, escape_markdown, percent, points, with_interval
from medrobust_bench.specs.vocabulary import Modality, in_usual_order

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from medrobust_bench.records import DataRecord, Estimate, ModelRecord, PairedDifference, Result, Scores
    from medrobust_bench.specs.threat import ThreatSpec

_SHORT: dict[str, str] = {
    Modality.ULTRASOUND: "US",
    Modality.FUNDUS: "Fundus",
    Modality.DERMOSCOPY: "Derm.",
    Modality.MICROSCOPY: "Micro.",
    Modality.COLPOSCOPY: "Colpo.",
    Modality.DIGITAL_PHOTOGRAPHY: "Photo",
    Modality.ENDOSCOPY: "Endo.",
    Modality.INFRARED: "Infrared",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One accuracy of one model.

    Attributes:
        label: clean, the threat's name, or it with a radius.
        threat: its specification; None for clean answers.
        whole: over all questions.
        by_modality: the same per modality, in the modalities' usual order.
    """

    label: str
    threat: ThreatSpec | None
    whole: Estimate
    by_modality: dict[str, Estimate]


NOTE = (
    "Accuracies in per cent with their 95 % Wilson intervals. Accuracy under an attack is an upper bound on "
    "robust accuracy, certified accuracy at an L2 radius a lower bound. Credited: only answers that depend "
    "on the image count, over the questions that were also asked without it."
)
FAILED_NOTE = "Questions that came to no outcome; no accuracy above counts them, as right or as wrong."


@dataclass(frozen=True, slots=True)
class _Measure:
    """One accuracy column: what it is called and how it is read from a group's scores."""

    label: str
    threat: ThreatSpec | None
    read: Callable[[Scores], Estimate | None]


def run_table(results: Sequence[Result]) -> str:
    """The results of a run as Markdown: per data set, accuracy by model and threat, then by modality.

    Args:
        results: one per model, threat and data set, in the order in which models and threats should stand.
    """
    blocks: list[str] = []
    for data, group in _by_data(results):
        told = (describe_data(data), describe_without_images(group), *describe_servers(group))
        lines = [escape_markdown(line) for line in told if line]
        blocks += [f"## {escape_markdown(data.name)}", *lines, NOTE]
        blocks += [f"### {grid.title}\n\n{grid.markdown()}" for grid in _grids(group)]
        threats = {result.threat.name: result.threat for result in group if result.threat.yields != "clean"}
        if threats:
            lines = [f"- {escape_markdown(describe_threat(threat))}" for threat in threats.values()]
            blocks.append("### Threats\n\n" + "\n".join(lines))
        if failed := failed_lines(group):
            lines = [f"- {escape_markdown(line)}" for line in failed]
            blocks.append(f"### Failed\n\n{FAILED_NOTE}\n\n" + "\n".join(lines))
        if findings := _findings(group):
            blocks.append(
                "### Audit\n\n" + "\n".join(f"- {escape_markdown(finding)}" for finding in findings)
            )
    return "\n\n".join(blocks) + "\n"


def print_run(results: Sequence[Result], *, console: Console | None = None) -> None:
    """Print the results to a terminal (default: standard output), narrow enough for 80 columns."""
    console = console or Console(highlight=False)
    for data, group in _by_data(results):
        console.print(printable(describe_data(data)), markup=False, style="bold")
        if given_away := describe_without_images(group):
            console.print(given_away, markup=False)
        for line in describe_servers(group):
            console.print(line, markup=False)
        for name, of_model in _by_model(group):
            for grid in _narrow_grids(name, of_model):
                table = grid.rich()
                table.padding = 0  # else eight modalities leave too little room for a threat's name
                console.print(table)
        for line in failed_lines(group):
            console.print(printable(f"failed, and counted nowhere: {line}"), markup=False, style="red")
        for finding in _findings(group):
            console.print(printable(finding), markup=False, style="yellow")
    console.print(NOTE, markup=False, style="dim")


def describe_data(data: DataRecord) -> str:
    """A data set in one line; whether the images are synthetic is said first."""
    kind = "synthetic images, not patients'" if data.synthetic else "images from patients"
    skipped = f", {len(data.skipped)} row{'s' * (len(data.skipped) > 1)} skipped" if data.skipped else ""
    return (
        f"{data.name}, {data.split} split: {data.n} questions on {kind}{skipped}; digest {data.digest[:12]}"
    )


def describe_servers(results: Sequence[Result]) -> list[str]:
    """Whose answers were measured, in one line for each model that a server answered for."""
    models = {result.model.id: result.model for result in results if result.model.server is not None}
    return [_served(model) for model in models.values()]


def _served(model: ModelRecord) -> str:
    server = model.server
    assert server is not None
    who = f"answers of {server.answered_as or server.model} at {server.base_url}"
    if server.fingerprint is not None:
        who += f", {server.fingerprint}"
    if server.compared is None:
        return f"{model.id}: weights unknown; {who}."
    alike = f"{server.agreed} of {server.compared} clean answers are those of the local weights"
    return f"{model.id}: gradients of local weights; {who}; {alike}."


def describe_without_images(results: Sequence[Result]) -> str:
    """What the questions give away without any image, in one line; empty where no result says it.

    Args:
        results: on one data set.
    """
    found = next((result.without_images for result in results if result.without_images is not None), None)
    if found is None:
        return ""
    parts = [f"guessing {percent(found.chance)} %", f"always the same letter {percent(found.majority)} %"]
    parts.append(
        "the options' texts alone: no training split to learn them from"
        if found.option_texts is None
        else f"the options' texts alone, as often as each was right in training, {percent(found.option_texts)} %"
    )
    return f"Right without any image: {', '.join(parts)}."


def describe_threat(threat: ThreatSpec) -> str:
    """A threat's specification in one line: `pgd-linf: pgd, norm linf, eps 8/255, steps 20`."""
    fields = [
        f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in threat.model_dump(mode="json", exclude={"name", "kind"}).items()
        if value != []
    ]
    return f"{threat.name}: " + ", ".join([threat.kind, *fields])


def measured(results: Sequence[Result]) -> dict[str, list[Measured]]:
    """Every accuracy of every model, in the order of the tables.

    Args:
        results: results on one data set.
    """
    modalities = modality_counts(results)
    found: dict[str, list[Measured]] = {}
    for name, group in _by_model(results):
        found[name] = []
        for measure in _measures(group):
            whole = _read(group, measure)
            by_modality = {modality: _read(group, measure, modality) for modality in modalities}
            if whole is not None:
                known = {modality: cell for modality, cell in by_modality.items() if cell is not None}
                found[name].append(Measured(measure.label, measure.threat, whole, known))
    return found


def short_modality(name: str) -> str:
    """A modality's name for a narrow column."""
    return _SHORT.get(name, name)


def accuracy_grid(results: Sequence[Result]) -> Grid:
    """One row per model; columns: clean, robust accuracy per threat, certified accuracy per radius, credited, unparsed.

    Args:
        results: results on one data set.
    """
    measures = _measures(results, credited=True)
    rows = []
    for name, group in _by_model(results):
        cells = [_read(group, measure) for measure in measures]
        unparsed = group[0].metrics.unparsed_rate.clean
        rows.append(
            (name, *(MISSING if cell is None else with_interval(cell) for cell in cells), percent(unparsed))
        )
    header = ("Model", *(measure.label for measure in measures), "Unparsed")
    return Grid("Accuracy", header, tuple(rows), names=1)


def answer_grid(results: Sequence[Result]) -> Grid | None:
    """How the generated answers of every model and threat were read, and what the others were; None without any.

    Args:
        results: results on one data set.
    """
    told = [
        (name, result.threat.name, result.metrics.answers)
        for name, group in _by_model(results)
        for result in group
        if result.metrics.answers is not None
    ]
    if not told:
        return None
    tiers = [tier for tier in Tier if any(tier in answers.tiers for *_, answers in told)]
    kinds = [kind for kind in AnswerKind if kind is not AnswerKind.READ]
    rows = tuple(
        (
            name,
            threat,
            str(sum(answers.kinds.values())),
            *(str(answers.tiers.get(tier, 0)) for tier in tiers),
            *(str(answers.kinds.get(kind, 0)) for kind in kinds),
        )
        for name, threat, answers in told
    )
    header = ("Model", "Threat", "Answers", *(f"read by {tier}" for tier in tiers), *kinds)
    return Grid("How generated answers were read", header, rows, names=2)


def modality_grid(results: Sequence[Result]) -> Grid:
    """One row per model and measure, one column per modality with its number of questions.

    Args:
        results: results on one data set.
    """
    counts = modality_counts(results)
    rows = []
    for name, group in _by_model(results):
        for measure in _measures(group):
            cells = [_read(group, measure, modality) for modality in counts]
            values = (MISSING if cell is None else percent(cell.value) for cell in cells)
            rows.append((name, measure.label, *values))
    header = ("Model", "Threat", *(f"{modality} (n {n})" for modality, n in counts.items()))
    return Grid("Accuracy by modality", header, tuple(rows), names=2)


def corruption_grids(results: Sequence[Result]) -> list[Grid]:
    """Per model and threat over corruptions: one row a kind, accuracy by severity and what is left of the clean one."""
    grids = []
    for name, group in _by_model(results):
        for result in group:
            found = {(one.kind, one.severity): one for one in result.metrics.by_corruption}
            if len(found) < 2:
                continue
            severities = sorted({severity for _, severity in found})
            rows = []
            for kind in dict.fromkeys(kind for kind, _ in found):
                of_kind = [found.get((kind, severity)) for severity in severities]
                known = [one for one in of_kind if one is not None]
                relative = sum(one.value for one in known) / max(1e-9, sum(one.clean for one in known))
                cells = (MISSING if one is None else with_interval(one) for one in of_kind)
                rows.append((kind, str(known[0].n), percent(known[0].clean), *cells, percent(relative)))
            header = ("Corruption", "n", "Clean", *(f"severity {s}" for s in severities), "Relative")
            grids.append(Grid(f"{name} under {result.threat.name}", header, tuple(rows), names=1))
    return grids


def control_grids(results: Sequence[Result]) -> list[Grid]:
    """Per model and threat that writes text: accuracy under wrong words, and under as many harmless ones."""
    grids = []
    for name, group in _by_model(results):
        for result in group:
            if not result.metrics.controls or result.metrics.robust_accuracy is None:
                continue
            words = ("names a wrong option", with_interval(result.metrics.robust_accuracy), "", "", "", "")
            rows = [
                (
                    {"right option": "names the right option", "neutral": "neutral"}[one.control],
                    with_interval(one),
                    str(one.only_words),
                    str(one.only_control),
                    MISSING if one.words_cost is None else _points_with_interval(one.words_cost),
                    MISSING if one.words_cost is None else f"{one.p_value:.2g}",
                )
                for one in result.metrics.controls
            ]
            header = (
                "Text",
                "Accuracy",
                "Broken by the wrong words only",
                "by this text only",
                "The words cost (points)",
                "p (exchange)",
            )
            title = f"{name} under {result.threat.name}: the words"
            if result.metrics.on_text is not None:
                title += (
                    f" ({percent(result.metrics.on_text)} % of the images seem to carry text of their own)"
                )
            grids.append(Grid(title, header, (words, *rows), names=1))
    return grids


def _points_with_interval(difference: PairedDifference) -> str:
    return f"{points(difference.value)} ({points(difference.low)} to {points(difference.high)})"


def modality_counts(results: Sequence[Result]) -> dict[str, int]:
    """Number of questions per modality, in the modalities' usual order."""
    counts = {name: group.clean_accuracy.n for name, group in results[0].metrics.by_modality.items()}
    return {name: counts[name] for name in in_usual_order(counts)}


def _narrow_grids(name: str, results: Sequence[Result]) -> list[Grid]:
    """One model's accuracies, one a row."""
    measured = [(measure.label, _read(results, measure)) for measure in _measures(results, credited=True)]
    rows = tuple(
        (label, percent(cell.value), f"{percent(cell.low)}–{percent(cell.high)}", str(cell.n))
        for label, cell in measured
        if cell is not None
    )
    answers, n = results[0].metrics.answers, results[0].data.n
    if answers is not None:
        unread = {kind: count for kind, count in answers.kinds.items() if kind is not AnswerKind.READ}
        rows += tuple((f"clean, {kind}", percent(count / n), "", str(n)) for kind, count in unread.items())
    elif unparsed := results[0].metrics.unparsed_rate.clean:
        rows += (("clean, unparsed", percent(unparsed), "", str(n)),)
    grids = [Grid(name, ("Threat", "Accuracy", "95 % interval", "n"), rows, names=1)]
    if len(results[0].metrics.by_modality) > 1:
        counts = modality_counts(results)
        header = ("Threat", *map(short_modality, counts))
        shares = [row[1:] for row in modality_grid(results).rows]
        questions = ("questions", *map(str, counts.values()))
        grids.append(Grid(f"{name}, by modality", header, (*shares, questions), names=1))
    return grids


def _grids(results: Sequence[Result]) -> list[Grid]:
    grids = [accuracy_grid(results)]
    if len(results[0].metrics.by_modality) > 1:
        grids.append(modality_grid(results))
    grids += [*corruption_grids(results), *control_grids(results)]
    answers = answer_grid(results)
    return grids if answers is None else [*grids, answers]


def _measures(results: Sequence[Result], *, credited: bool = False) -> list[_Measure]:
    """Clean accuracy, then robust, then certified accuracies, then further metrics, in order of appearance.

    Args:
        results: on one data set.
        credited: whether to tell credited accuracies as well.
    """
    clean = [_Measure("clean", None, lambda scores: scores.clean_accuracy)]
    robust: dict[ThreatSpec, _Measure] = {}
    certified: dict[tuple[ThreatSpec, float], _Measure] = {}
    further: dict[tuple[ThreatSpec, str], _Measure] = {}
    for result in results:
        key, name = result.threat, result.threat.name
        if result.metrics.robust_accuracy is not None:
            robust[key] = _Measure(name, key, lambda scores: scores.robust_accuracy)
        if result.metrics.corrupted_accuracy is not None:
            robust[key] = _Measure(name, key, lambda scores: scores.corrupted_accuracy)
        for estimate in result.metrics.certified_accuracy:
            label = f"{name} ≥ {estimate.radius:g}"
            certified[key, estimate.radius] = _Measure(label, key, _certified_at(estimate.radius))
        if credited and result.threat.yields != "clean" and result.metrics.credited_accuracy is not None:
            further[key, ""] = _Measure(f"credited, {name}", key, lambda scores: scores.credited_accuracy)
        for metric in result.metrics.further:
            further[key, metric] = _Measure(f"{metric}, {name}", key, _further(metric))
    measures = [*clean, *robust.values(), *certified.values(), *further.values()]
    repeated = {label for label, count in Counter(measure.label for measure in measures).items() if count > 1}
    specified = {result.threat: describe_threat(result.threat) for result in results}
    return [
        _Measure(f"{measure.label} [{specified[measure.threat]}]", measure.threat, measure.read)
        if measure.label in repeated and measure.threat is not None
        else measure
        for measure in measures
    ]


def _certified_at(radius: float) -> Callable[[Scores], Estimate | None]:
    return lambda scores: next((e for e in scores.certified_accuracy if e.radius == radius), None)


def _further(metric: str) -> Callable[[Scores], Estimate | None]:
    return lambda scores: scores.further.get(metric)


def _read(results: Sequence[Result], measure: _Measure, modality: str | None = None) -> Estimate | None:
    """The measure's estimate among the results of one model, or None where it was not measured."""
    for result in results:
        if measure.threat in (None, result.threat):
            scores = result.metrics if modality is None else result.metrics.by_modality.get(modality)
            return None if scores is None else measure.read(scores)
    return None


def _by_data(results: Iterable[Result]) -> list[tuple[DataRecord, list[Result]]]:
    groups = _grouped(results, lambda result: (result.data.name, result.data.split, result.data.digest))
    return [(group[0].data, group) for group in groups]


def _by_model(results: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    """Results per model; the same model in two answer modes or dtypes is two models."""

    def full_name(result: Result) -> str:
        return f"{result.model.id} ({result.model.answer_mode}, {result.model.dtype})"

    groups = _grouped(results, lambda result: (full_name(result), result.model.weights_sha256))
    ids = Counter(group[0].model.id for group in groups)
    return [
        (group[0].model.id if ids[group[0].model.id] == 1 else full_name(group[0]), group) for group in groups
    ]


def _grouped(results: Iterable[Result], key: Callable[[Result], Hashable]) -> list[list[Result]]:
    """Groups in the order in which their first members appear."""
    groups: dict[Hashable, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return list(groups.values())


def failed_lines(results: Iterable[Result]) -> list[str]:
    """Per model and threat how many questions came to no outcome, and why."""
    return [
        f"{result.model.id} under {result.threat.name}: {sum(result.failed.values())} of {result.data.n} questions "
        f"({', '.join(f'{kind} {count}' for kind, count in result.failed.items())})"
        for result in results
        if result.failed
    ]


def _findings(results: Iterable[Result]) -> list[str]:
    """What the audits warn of."""
    return [
        f"{finding.verdict}: {result.model.id} under {result.threat.name}: {finding.meaning} ({finding.check})"
        for result in results
        for finding in result.audit
        if finding.verdict != "pass"
    ]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

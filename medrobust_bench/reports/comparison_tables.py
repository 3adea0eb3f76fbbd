"""What a comparison looks like: tables for a terminal and for Markdown, JUnit XML, GitHub annotations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rich.console import Console

from medrobust_bench.reports.grid import MISSING, Grid, escape_markdown, percent, points
from medrobust_bench.reports.tables import describe_data, short_modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.reports.comparison import Comparison, Difference, Measure
    from medrobust_bench.reports.gate import Gate, Judgement

NOTE = (
    "Differences in percentage points with 95 % intervals, questions about one image taken together; p: exact "
    "McNemar test. Shows ≥: the smallest difference that this sample would have shown in four of five cases."
)
STARS = "* significant at 5 % after Holm's correction over the modalities."

_VERDICTS = {"regressed": "FAIL", "holds": "pass", "undecided": "open"}


def label(threat: str, name: str) -> str:
    """An accuracy in a word: clean, pgd-linf, certified-l2 ≥ 0.25."""
    return threat if name in ("clean", "robust") else f"{threat} {name.removeprefix('certified ')}"


def whole_grid(comparison: Comparison, gate: Gate | None = None) -> Grid:
    """One row per accuracy."""
    verdicts = {} if gate is None else {_key(one): _VERDICTS[one.verdict] for one in gate.judgements}
    rows = []
    for measure in comparison.measures:
        whole = measure.whole
        cells = (
            label(measure.threat, measure.name),
            percent(whole.baseline),
            percent(whole.current),
            f"{points(whole.difference)} ({points(whole.low)} to {points(whole.high)})",
            str(whole.lost),
            str(whole.gained),
            p_value(whole.p_value),
            percent(whole.detectable),
        )
        rows.append((*cells, verdicts[_key_of(comparison, measure)]) if verdicts else cells)
    header = ("Accuracy", "Before", "Now", "Difference", "Lost", "Gained", "p", "Shows ≥")
    title = f"{comparison.baseline.id} → {comparison.current.id}"
    return Grid(title, (*header, "Gate") if verdicts else header, tuple(rows), names=1)


def narrow_grids(comparison: Comparison, gate: Gate | None = None) -> list[Grid]:
    """The same in 80 columns: the differences, and what they rest on."""
    wide = whole_grid(comparison, gate)
    changes = tuple(
        (name, before, now, change.partition(" ")[0], change.partition(" ")[2], p.replace(" ", ""), *verdict)
        for name, before, now, change, _lost, _gained, p, _shows, *verdict in wide.rows
    )
    bases = tuple(
        (
            label(measure.threat, measure.name),
            *map(str, (measure.whole.lost, measure.whole.gained, measure.whole.n, measure.whole.images)),
            percent(measure.whole.detectable),
        )
        for measure in comparison.measures
    )
    header = ("Accuracy", "Before", "Now", "Change", "95 % interval", "p")
    return [
        Grid(wide.title, (*header, "Gate") if gate else header, changes, names=1),
        Grid("Rests on", ("Accuracy", "Lost", "Gained", "Questions", "Images", "Shows ≥"), bases, names=1),
    ]


def modality_grid(comparison: Comparison) -> Grid:
    """One row per accuracy, one column per modality: the difference in points."""
    modalities = list(comparison.measures[0].by_modality)
    rows = tuple(
        (
            label(measure.threat, measure.name),
            *(_starred(measure.by_modality.get(modality)) for modality in modalities),
        )
        for measure in comparison.measures
    )
    counts = (str(comparison.measures[0].by_modality[modality].n) for modality in modalities)
    header = ("Difference", *map(short_modality, modalities))
    return Grid("By modality", header, (*rows, ("questions", *counts)), names=1)


def markdown(comparisons: Sequence[Comparison], gate: Gate | None = None) -> str:
    """The comparison as a Markdown page, ready for a pull request's comment."""
    blocks = [] if gate is None else [f"**{escape_markdown(sentence(gate))}**"]
    for comparison in comparisons:
        grid = whole_grid(comparison, gate)
        blocks += [
            f"### {escape_markdown(grid.title)}",
            escape_markdown(describe_data(comparison.data)),
            grid.markdown(),
        ]
        if len(comparison.measures[0].by_modality) > 1:
            blocks += [modality_grid(comparison).markdown(), escape_markdown(STARS)]
        blocks += [f"- {escape_markdown(note)}" for note in comparison.notes]
    return "\n\n".join([*blocks, NOTE]) + "\n"


def print_comparisons(
    comparisons: Sequence[Comparison], gate: Gate | None = None, *, console: Console | None = None
) -> None:
    """Print the tables to a terminal (default: standard output), narrow enough for 80 columns."""
    console = console or Console(highlight=False)
    for comparison in comparisons:
        console.print(describe_data(comparison.data), markup=False, style="bold")
        for grid in narrow_grids(comparison, gate):
            console.print(grid.rich())
        if len(comparison.measures[0].by_modality) > 1:
            console.print(modality_grid(comparison).rich())
            console.print(STARS, markup=False, style="dim")
        for note in comparison.notes:
            console.print(f"note: {note}", markup=False, style="yellow")
    console.print(NOTE, markup=False, style="dim")
    if gate is not None:
        console.print(sentence(gate), markup=False, style="green" if gate.passed else "bold red")


def sentence(gate: Gate) -> str:
    """The gate's verdict in one sentence."""
    counts = {
        verdict: sum(judgement.verdict == verdict for judgement in gate.judgements) for verdict in _VERDICTS
    }
    margin = f"{100 * gate.margin:g} points"
    if counts["regressed"]:
        return f"Regressed: {counts['regressed']} of {len(gate.judgements)} accuracies fell by more than {margin}."
    if counts["undecided"]:
        failed = "Failed" if gate.strict else "Passed"
        return (
            f"{failed}: no fall by more than {margin} is shown, but for {counts['undecided']} of "
            f"{len(gate.judgements)} accuracies the sample is too small to exclude it."
        )
    return f"Passed: a fall by {margin} or more is excluded for every accuracy."


def junit(comparisons: Sequence[Comparison], gate: Gate) -> bytes:
    """JUnit XML: one test case per accuracy, failed where the gate fails, skipped where it is undecided."""
    suites = ElementTree.Element("testsuites", name="medrobust compare")
    for comparison in comparisons:
        on = _on(comparison, comparisons)
        suite = ElementTree.SubElement(
            suites, "testsuite", name=_xml(f"{comparison.baseline.id} → {comparison.current.id}{on}")
        )
        failures = skipped = 0
        for measure, judgement in _judged(comparison, gate):
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_xml(comparison.current.id + on),
                name=_xml(label(measure.threat, measure.name)),
            )
            if _fails(judgement, gate):
                failures += 1
                message = _xml(_message(measure, judgement, gate))
                ElementTree.SubElement(
                    case, "failure", message=message, type=judgement.verdict
                ).text = message
            elif judgement.verdict == "undecided":
                skipped += 1
                ElementTree.SubElement(case, "skipped", message=_xml(_message(measure, judgement, gate)))
        suite.attrib.update(
            tests=str(len(comparison.measures)), failures=str(failures), errors="0", skipped=str(skipped)
        )
    ElementTree.indent(suites)
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def github_annotations(comparisons: Sequence[Comparison], gate: Gate) -> list[str]:
    """GitHub workflow commands: an error per regression, a warning per undecided accuracy."""
    lines = []
    for comparison in comparisons:
        for measure, judgement in _judged(comparison, gate):
            if judgement.verdict == "holds":
                continue
            level = "error" if _fails(judgement, gate) else "warning"
            on = _on(comparison, comparisons)
            title = _property(f"{comparison.current.id}{on}, {label(measure.threat, measure.name)}")
            lines.append(f"::{level} title={title}::{_data(_message(measure, judgement, gate))}")
    return lines


def p_value(value: float) -> str:
    """A p-value with as many digits as mean something."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def _on(comparison: Comparison, comparisons: Sequence[Comparison]) -> str:
    """The data set, where there are several."""
    several = len({one.data.name for one in comparisons}) > 1
    return f" on {comparison.data.name}" if several else ""


def _judged(comparison: Comparison, gate: Gate) -> list[tuple[Measure, Judgement]]:
    by_key = {_key(judgement): judgement for judgement in gate.judgements}
    return [(measure, by_key[_key_of(comparison, measure)]) for measure in comparison.measures]


def _key(judgement: Judgement) -> tuple[str, ...]:
    return judgement.data, judgement.baseline, judgement.model, judgement.threat, judgement.name


def _key_of(comparison: Comparison, measure: Measure) -> tuple[str, ...]:
    pair = comparison.baseline.id, comparison.current.id
    return comparison.data.name, *pair, measure.threat, measure.name


def _fails(judgement: Judgement, gate: Gate) -> bool:
    return judgement.verdict == "regressed" or (gate.strict and judgement.verdict == "undecided")


def _message(measure: Measure, judgement: Judgement, gate: Gate) -> str:
    whole, margin = measure.whole, f"{100 * gate.margin:g} points"
    told = {
        "regressed": f"fell by more than {margin} (p = {p_value(judgement.p_regressed)})",
        "holds": f"a fall by {margin} is excluded",
        "undecided": f"too few questions to exclude a fall by {margin}",
    }[judgement.verdict]
    return (
        f"{percent(whole.baseline)} % → {percent(whole.current)} % on {whole.n} questions, "
        f"{whole.lost} lost, {whole.gained} gained: {told}"
    )


def _starred(difference: Difference | None) -> str:
    if difference is None:
        return MISSING
    star = "*" if difference.p_holm is not None and difference.p_holm <= 0.05 else ""
    return points(difference.difference) + star


def _xml(text: str) -> str:
    """Text without the control characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r -\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]", "\ufffd", text)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

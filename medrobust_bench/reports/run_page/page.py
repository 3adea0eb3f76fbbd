"""The report of a run: one HTML file that needs nothing else, and its figures as files."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from medrobust_bench.reports.grid import MISSING, percent
from medrobust_bench.reports.pages import environment
from medrobust_bench.reports.run_page.figures import (
    DARK,
    LIGHT,
    accuracy_figure,
    certified_figure,
    eps_figures,
    heat,
    modality_figure,
)
from medrobust_bench.reports.run_page.flips import flips
from medrobust_bench.reports.run_page.gallery import examples
from medrobust_bench.reports.tables import (
    NOTE,
    accuracy_grid,
    answer_grid,
    control_grids,
    cost_grid,
    describe_data,
    describe_threat,
    describe_without_images,
    failed_lines,
    measured,
    short_modality,
)
from medrobust_bench.specs.settings import command_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.records import Estimate, Finding, ModelRecord, Result
    from medrobust_bench.records.witness import Witness
    from medrobust_bench.reports.answered_run import AnsweredRun
    from medrobust_bench.reports.run_page.figures import Figure
    from medrobust_bench.reports.run_page.strip import Strip
    from medrobust_bench.reports.tables import Measured


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A coloured cell: an accuracy in per cent, the ends of its interval, and colours."""

    text: str
    interval: str
    paper: str
    ink: str


def write_report(
    run: AnsweredRun,
    out: Path,
    *,
    dataset: Dataset | None,
    reason: str = "",
    limit: int = 12,
    remade: Mapping[tuple[str, str], Sequence[Witness]] = MappingProxyType({}),
    strips: Sequence[Strip] = (),
) -> list[Path]:
    """Write the page and, beside it in `figures/`, every figure as SVG and PNG.

    Args:
        run: with its result files.
        out: the HTML file.
        dataset: the run's questions, for the gallery and the clinical directions; None where they are not at hand.
        reason: why they are not.
        limit: at most so many examples in the gallery.
        remade: by model and threat, images that broke an answer and are not stored.
        strips: images under acquisition faults at every severity.

    Returns:
        The files written, the page first.
    """
    figures = _figures(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    page = render(run, figures, dataset=dataset, reason=reason, limit=limit, remade=remade, strips=strips)
    out.write_text(page, encoding="utf-8")
    folder = out.parent / "figures"
    folder.mkdir(exist_ok=True)
    written = [out]
    for figure in figures:
        for path, content in (
            (folder / f"{figure.name}.svg", figure.render(LIGHT, "svg")),
            (folder / f"{figure.name}.png", figure.render(LIGHT, "png")),
        ):
            path.write_bytes(content)
            written.append(path)
    return written


def render(
    run: AnsweredRun,
    figures: Sequence[Figure],
    *,
    dataset: Dataset | None,
    reason: str,
    limit: int,
    remade: Mapping[tuple[str, str], Sequence[Witness]],
    strips: Sequence[Strip],
) -> str:
    """The page's HTML; see `write_report`."""
    results, plan = run.results, run.record.plan
    accuracies = measured(results)
    questions = None if dataset is None else {question.id: question for question in dataset.questions}
    found = [flips(model, threat, outcomes, questions) for (model, threat), outcomes in run.outcomes.items()]
    gallery = (
        []
        if questions is None or not limit
        else examples(
            run.outcomes, lambda *key: remade.get(key) or run.witnesses(*key), questions, limit=limit
        )
    )
    context: dict[str, Any] = {
        "title": f"{', '.join(plan.models)} on {plan.data.name}",
        "data": describe_data(results[0].data),
        "synthetic": plan.data.synthetic,
        "note": NOTE,
        "given_away": describe_without_images(results),
        "accuracy": accuracy_grid(results).transposed(),
        "threats": [describe_threat(threat) for threat in plan.threats if threat.yields != "clean"],
        "skipped": [f"{row.where}: {row.reason}" for row in results[0].data.skipped],
        "failed": failed_lines(results),
        "figures": [
            {
                "name": figure.name,
                "title": figure.title,
                "caption": figure.caption,
                "light": figure.data_uri(LIGHT),
                "dark": figure.data_uri(DARK),
            }
            for figure in figures
            if not figure.name.startswith("modalities")  # a table on the page
        ],
        "heat": heat_tables(accuracies),
        "corruptions": corruption_heat(results),
        "strips": strips,
        "controls": control_grids(results),
        "answers": answer_grid(results),
        "counts": _counts(results),
        "flips": [one for one in found if one is not None],
        "audit": [
            (f"{result.model.id}, {result.threat.name}", by_severity(result.audit))
            for result in results
            if result.audit
        ],
        "gallery": gallery,
        "lossy": any("image/webp" in one.clean for one in gallery),
        "no_gallery": reason or "No answer was broken.",
        "cost": cost_grid(results),
        "command": command_line(plan.settings),
        "environment": _environment(run),
        "version": run.record.environment.medrobust_bench,
    }
    names = {
        "accuracy": "Accuracy",
        "figures": "Figures",
        "modalities": "By modality",
        "corruptions": "Corruptions",
        "words": "Text in the image",
        "answers": "Answers",
        "flips": "Flips",
        "audit": "Audit",
        "gallery": "Gallery",
        "cost": "Cost",
        "reproduce": "Reproduce",
    }
    absent = {
        name
        for name, shown in (
            ("modalities", "heat"),
            ("corruptions", "corruptions"),
            ("words", "controls"),
            ("answers", "answers"),
            ("flips", "flips"),
        )
        if not context[shown]
    }
    context["sections"] = [entry for entry in names.items() if entry[0] not in absent]
    template = environment("medrobust_bench.reports.run_page").get_template("report.html.jinja")
    return template.render(context)


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """What failed first, then what warns, then what passed."""
    return sorted(findings, key=lambda finding: ("fail", "warn", "pass").index(finding.verdict))


def heat_tables(accuracies: Mapping[str, Sequence[Measured]]) -> list[dict[str, Any]]:
    """Per model: accuracies by modality as coloured cells; none where there is a single modality."""
    blocks = []
    for model, found in accuracies.items():
        columns = list(found[0].by_modality)
        if len(columns) < 2:
            continue
        rows = [
            (one.label, [heat_cell(one.by_modality.get(modality)) for modality in columns]) for one in found
        ]
        blocks.append({"model": model, "columns": list(map(short_modality, columns)), "rows": rows})
    return blocks


def corruption_heat(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Per model and suite of corruptions: accuracy by kind and severity as coloured cells, the clean one first."""
    blocks = []
    for result in results:
        found = {(one.kind, one.severity): one for one in result.metrics.by_corruption}
        severities = sorted({severity for _, severity in found})
        rows = []
        for kind in dict.fromkeys(kind for kind, _ in found):
            of_kind = [found.get((kind, severity)) for severity in severities]
            known = next(one for one in of_kind if one is not None)
            rows.append((f"{kind} (n {known.n})", [_plain_cell(known.clean), *map(heat_cell, of_kind)]))
        if rows:
            columns = ["clean", *(f"severity {severity}" for severity in severities)]
            model = f"{result.model.id}, {result.threat.name}"
            blocks.append({"model": model, "threat": result.threat.name, "columns": columns, "rows": rows})
    return blocks


def _plain_cell(share: float) -> HeatCell:
    return HeatCell(percent(share), "", *heat(share))


def heat_cell(estimate: Estimate | None) -> HeatCell:
    """An accuracy as a coloured cell; an empty one where nothing was measured."""
    if estimate is None:
        return HeatCell(MISSING, "", "transparent", "inherit")
    paper, ink = heat(estimate.value)
    interval = f"{100 * estimate.low:.0f}–{100 * estimate.high:.0f}"
    return HeatCell(percent(estimate.value), interval, paper, ink)


def _figures(run: AnsweredRun) -> list[Figure]:
    accuracies = measured(run.results)
    certified = certified_figure(run.outcomes, accuracies)
    maps = [
        modality_figure(model, found, name=f"modalities-{number}")
        for number, (model, found) in enumerate(accuracies.items(), start=1)
    ]
    figures = [accuracy_figure(accuracies), *eps_figures(accuracies), certified, *maps]
    return [figure for figure in figures if figure is not None]


def _counts(results: Sequence[Result]) -> str:
    groups = results[0].metrics.by_modality
    return ", ".join(f"{name} {scores.clean_accuracy.n}" for name, scores in groups.items())


def _model(model: ModelRecord) -> str:
    """What is known of a model's identity."""
    server = model.server
    weights = (
        "weights unknown"
        if model.weights_sha256 is None
        else f"{model.parameters:,} parameters, {model.dtype}, revision {model.revision or 'none'}, "
        f"weights SHA-256 {model.weights_sha256}"
    )
    said = f"answers by {model.answer_mode}"
    if server is not None:
        said += (
            f" from {server.base_url}, asked for {server.model}, answered as {server.answered_as or 'nobody'}"
        )
        said += f", fingerprint {server.fingerprint or 'none'}"
        if server.compared is not None:
            said += f", {server.agreed} of {server.compared} clean answers as the local weights"
    return f"{weights}; {said}"


def _environment(run: AnsweredRun) -> list[tuple[str, str]]:
    models = [(f"Model {name}", _model(model)) for name, model in run.record.models.items()]
    software = [
        (name.replace("_", "-"), str(value)) for name, value in run.record.environment.model_dump().items()
    ]
    data = run.record.plan.data
    return [*models, ("Questions", f"{data.n}, SHA-256 {data.digest}"), *software]

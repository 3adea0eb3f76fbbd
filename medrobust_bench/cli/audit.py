"""`medrobust audit`: can the robustness that a run reports be believed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.cli.options import images_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Finding
    from medrobust_bench.runs.audit.thorough import AuditRecord

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}


@click.command("audit")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; repeatable.")
@click.option(
    "--threat",
    "threats",
    multiple=True,
    metavar="NAME",
    help="White-box attack of the run to examine; repeatable.  [default: the first]",
)
@click.option(
    "--questions",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    metavar="K",
    help="Size of the seeded sample of questions that the model answers right.",
)
@click.option("--data", metavar="SOURCE", help="Where the data set is now, if not where it was.")
@images_option
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, … instead of the run's.")
def command(
    run: Path,
    models: tuple[str, ...],
    threats: tuple[str, ...],
    questions: int,
    data: str | None,
    images: Path | None,
    device: str | None,
) -> None:
    """Examine the attacks of RUN: is the robustness that they report the model's, or their own failure?

    Loads each model again, and tries on a sample of questions whether its gradients are right, whether more of the
    same attack, or one without gradients, breaks more, and whether the answers depend on image and options as they
    should. Prints every check and writes audit.json into the run's folder. Exits with 1 if a check fails.
    """
    from medrobust_bench.records.files import replace_file
    from medrobust_bench.runs.suite import load_runs

    passed = True
    for finished in load_runs(run, moved=(data, images) != (None, None)):
        records = finished.audit(
            models=models,
            threats=threats,
            questions=questions,
            data=data,
            images=images,
            device=device,
            tell=lambda what: click.echo(what, err=True),
        )
        for record in records:
            _print(record)
        replace_file(finished.folder / "audit.json", _json(records))
        click.echo(f"Written to {finished.folder / 'audit.json'}")
        passed = passed and all(record.passed for record in records)
    if not passed:
        raise click.exceptions.Exit(1)


def _print(record: AuditRecord) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(
        title=f"{record.model} under {record.threat}: {len(record.questions)} questions",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("Check", "Value", "Verdict", "What it means", "Source"):
        table.add_column(column, overflow="fold", justify="right" if column == "Value" else "left")
    for finding in record.findings:
        style = _STYLES[finding.verdict]
        verdict = f"[{style}]{finding.verdict}[/{style}]"
        table.add_row(finding.check, _value(finding), verdict, finding.meaning, finding.source)
    console.print(table)
    for check, why in record.skipped.items():
        console.print(f"not made: {check} ({why})", markup=False, style="dim")
    counts = {verdict: sum(finding.verdict == verdict for finding in record.findings) for verdict in _STYLES}
    console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _value(finding: Finding) -> str:
    return f"{finding.value:.3g}" if isinstance(finding.value, float) else str(finding.value)


def _json(records: Sequence[AuditRecord]) -> bytes:
    import json

    document = {
        "passed": all(record.passed for record in records),
        "audits": [record.model_dump(mode="json") for record in records],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"

"""`medrobust audit`: can the robustness that a run reports be believed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Finding
    from medrobust_bench.runs.audit.thorough import AuditRecord
    from medrobust_bench.runs.finished import FinishedRun
    from medrobust_bench.runs.witness import Witness

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
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, … instead of the run's.")
def command(
    run: Path,
    models: tuple[str, ...],
    threats: tuple[str, ...],
    questions: int,
    data: str | None,
    device: str | None,
) -> None:
    """Examine the attacks of RUN: is the robustness that they report the model's, or their own failure?

    Loads each model again, and tries on a sample of questions whether its gradients are right, whether more of the
    same attack, or one without gradients, breaks more, and whether the answers depend on image and options as they
    should. Prints every check and writes audit.json into the run's folder. Exits with 1 if a check fails.
    """
    from transformers.utils.logging import disable_progress_bar

    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.models.registry import resolve
    from medrobust_bench.runs.finished import read_finished
    from medrobust_bench.runs.journal import replace_file
    from medrobust_bench.runs.reopen import reopen

    disable_progress_bar()
    finished = read_finished(run)
    plan = finished.record.plan
    names = _chosen(models, plan.models, f"{run}: models")
    attacks = _attacks(finished, threats)
    by_id = {question.id: question for question in reopen(plan, data=data).questions}
    mode = None if plan.settings.answer_mode is None else AnswerMode(plan.settings.answer_mode)
    cards = {card.id: card for card in (resolve(name, answer_mode=mode) for name in plan.settings.models)}
    records = []
    for name in names:
        for record in _examine(finished, cards[name], attacks, by_id, questions, device):
            carried = next(
                result.audit
                for result in finished.results
                if (result.model.id, result.threat.name) == (record.model, record.threat)
            )
            clean = next(
                result.audit
                for result in finished.results
                if (result.model.id, result.threat.name) == (record.model, "clean")
            )
            complete = record.model_copy(update={"findings": (*clean, *carried, *record.findings)})
            _print(complete)
            records.append(complete)
    replace_file(run / "audit.json", _json(records))
    click.echo(f"Written to {run / 'audit.json'}")
    if not all(record.passed for record in records):
        raise click.exceptions.Exit(1)


def _examine(
    finished: FinishedRun,
    card: Card,
    attacks: Sequence[str],
    by_id: Mapping[str, Question],
    size: int,
    device: str | None,
) -> list[AuditRecord]:
    """Load a model and audit it under each attack."""
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.models.registry import load_model
    from medrobust_bench.runs.audit.subject import Subject
    from medrobust_bench.runs.audit.thorough import examine, sample
    from medrobust_bench.specs.registry import load_threat

    settings = finished.record.plan.settings
    place = device or settings.device
    trust = settings.trust_remote_code
    click.echo(f"loading {card.id}", err=True)
    adapter = load_model(card, device=place, dtype=settings.dtype, trust_remote_code=trust)
    seen, now = finished.record.models[card.id], adapter.record
    if seen.weights_sha256 != now.weights_sha256:
        what = f"{card.id} had the weights {seen.weights_sha256[:12]} and has {now.weights_sha256[:12]} now"
        raise InvalidInputError([Problem(str(finished.folder), what, "audit with the checkpoint of the run")])
    ids = sample(finished.outcomes[card.id, "clean"], size, seed=settings.seed)
    if len(ids) < 2:
        what = f"{card.id} answers {len(ids)} questions right: there is nothing to attack"
        raise InvalidInputError([Problem(str(finished.folder), what, "audit a model that knows answers")])
    records = []
    for attack in attacks:
        threat = load_threat(_as_asked_for(attack, settings.threats))
        assert not isinstance(threat, Certification), "no kind of white-box attack"
        subject = Subject(adapter, [by_id[name] for name in ids], threat, seed=settings.seed)
        own = {witness.question: witness for witness in finished.witnesses(card.id, attack)}
        transferred: dict[str, list[Witness]] = {}
        for other in finished.record.plan.models:
            for witness in finished.witnesses(other, attack) if other != card.id else []:
                transferred.setdefault(witness.question, []).append(witness)
        records.append(
            examine(
                subject,
                model=card.id,
                witnesses=own,
                transferred=transferred,
                tell=lambda what: click.echo(f"{card.id}: {what}", err=True),
            )
        )
    return records


def _attacks(finished: FinishedRun, asked: tuple[str, ...]) -> list[str]:
    """Names of the white-box attacks in a norm ball to examine."""
    from medrobust_bench.runs.audit.rivalry import WHITE_BOX

    possible = [threat.name for threat in finished.record.plan.threats if threat.kind in WHITE_BOX]
    if not possible:
        what = "holds no white-box attack in a norm ball, which is what an audit examines"
        remedy = "run it with --threat pgd-linf, or another of kind " + ", ".join(WHITE_BOX)
        raise InvalidInputError([Problem(str(finished.folder), what, remedy)])
    return _chosen(asked, possible, "--threat") if asked else possible[:1]


def _chosen(asked: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    problems = [
        Problem(where, f"{name!r} is not among them", f"use one of {', '.join(known)}")
        for name in asked
        if name not in known
    ]
    if problems:
        raise InvalidInputError(problems)
    return list(asked or known)


def _as_asked_for(name: str, texts: Sequence[str]) -> str:
    """What the run was told for the threat of this name: a file's threat cannot be found by its name."""
    from medrobust_bench.specs.registry import load_specification

    return next((text for text in texts if load_specification(text).name == name), name)


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

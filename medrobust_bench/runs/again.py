"""What of a finished run is done again, with its models and questions at hand: replay, transfer, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from medrobust_bench.models.cards import Card
from medrobust_bench.models.memory import release_memory
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.run import file_stem
from medrobust_bench.records.transfer import Transfer
from medrobust_bench.reports.transfer_table import transfer_page
from medrobust_bench.runs.audit.thorough import audit_model, examinable
from medrobust_bench.runs.cards import card_of
from medrobust_bench.runs.models import open_model, server_faults
from medrobust_bench.runs.plan import environment
from medrobust_bench.runs.recount import recount_model
from medrobust_bench.runs.threats import open_altering, open_attack
from medrobust_bench.runs.transfer import transferred
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.runs.audit.thorough import AuditRecord
    from medrobust_bench.runs.recount import Recount
    from medrobust_bench.runs.run import Run


def replay(
    run: Run, *, data: str | None, images: str | Path | None, device: str | None
) -> dict[str, list[Recount]]:
    """See `Run.replay`."""
    chunks, plan = _chunks(run, data, images), run.record.plan
    attacks = [open_attack(spec) for spec in plan.threats if spec.yields == "robust" and not spec.remade]
    altering = [open_altering(spec) for spec in plan.threats if spec.remade]
    recounts = {}
    for model, card in _cards(run).items():
        answered = _answered(run, model)
        asked = [[question for question in chunk if question.id in answered] for chunk in chunks]
        recounts[model] = recount_model(
            _open(run, model, card, chunks, device),
            [chunk for chunk in asked if chunk],
            attacks,
            altering,
            outcomes={
                spec.name: [one for one in run.outcomes[model, spec.name] if one.question in answered]
                for spec in plan.threats
            },
            witnesses={
                spec.name: [one for one in run.witnesses(model, spec.name) if one.question in answered]
                for spec in plan.threats
            },
            seed=plan.settings.seed,
        )
        release_memory()
    return recounts


def transfer(
    run: Run,
    model: str | Adapter,
    *,
    threats: Sequence[str],
    data: str | None,
    images: str | Path | None,
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None,
    device: str | None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"],
    trust_remote_code: bool,
    base_url: str | None,
    key_variable: str | None,
    concurrency: int | None,
    tell: Callable[[str], None],
) -> list[Transfer]:
    """See `Run.transfer`."""
    plan = run.record.plan
    settings = plan.settings.model_copy(
        update={
            "answer_mode": answer_mode,
            "revision": None,
            "max_new_tokens": None,
            "base_url": base_url,
            "answers_from": None,
            "key_variable": key_variable,
            "concurrency": concurrency,
        }
    )
    card = card_of(model, settings) if isinstance(model, str) else model
    kept = {spec.name: spec for spec in plan.threats if spec.yields == "robust" and not spec.remade}
    if not kept:
        remedy = "run it with an attack, such as --threat pgd-linf"
        raise InvalidInputError([Problem(str(run.folder), "holds no attack whose images are kept", remedy)])
    attacks = [
        (source, name)
        for source in run.models
        for name in _chosen(threats, list(kept), f"{run.folder}: threats")
    ]
    chunks = _chunks(run, data, images)
    name = card.id if isinstance(card, Card) else card.record.id
    folder = run.transfer_folder(name)
    tell(f"loading {name}")
    adapter = open_model(
        card,
        questions=chunks[0],
        device=device or plan.settings.device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        replies=folder / "replies.sqlite",
    )
    tell(
        f"answering {plan.data.n} clean images and the images of {len(attacks)} attack{'s' * (len(attacks) > 1)}"
    )
    with server_faults(name, remedy="see to the server and give the same command again"):
        outcomes, failed = transferred(
            adapter,
            chunks,
            target=name,
            clean={source: run.outcomes[source, CLEAN.name] for source in run.models},
            witnesses={attack: run.witnesses(*attack) for attack in attacks},
        )
    for failure in failed:
        tell(f"left out: {failure}")
    transfers = [
        Transfer(
            source=run.record.models[source],
            target=adapter.record.model_copy(update={"id": name}),
            data=plan.data,
            threat=kept[threat],
            seed=plan.settings.seed,
            outcomes=tuple(outcomes[source, threat]),
            failed=failed,
            environment=environment(device or plan.settings.device),
        )
        for source, threat in attacks
    ]
    for transfer in transfers:
        path = folder / f"{file_stem(transfer.source.id, transfer.threat.name)}.json"
        replace_file(path, transfer.model_dump_json(indent=2).encode() + b"\n")
    replace_file(folder / "transfer.md", transfer_page(transfers).encode())
    return transfers


def audit(
    run: Run,
    *,
    models: Sequence[str],
    threats: Sequence[str],
    questions: int,
    data: str | None,
    images: str | Path | None,
    device: str | None,
    tell: Callable[[str], None],
) -> list[AuditRecord]:
    """See `Run.audit`."""
    plan = run.record.plan
    possible = {spec.name: spec for spec in plan.threats if examinable(spec)}
    if not possible:
        what = "holds no white-box attack in a norm ball, which is what an audit examines"
        remedy = "run it with --threat pgd-linf, or another attack that follows the gradient"
        raise InvalidInputError([Problem(str(run.folder), what, remedy)])
    attacks = _chosen(threats, list(possible), "--threat") if threats else [next(iter(possible))]
    cards = _cards(run)
    chosen = _chosen(models, plan.models, f"{run.folder}: models")
    chunks = _chunks(run, data, images)
    by_id = {question.id: question for chunk in chunks for question in chunk}
    records = []
    for model in chosen:
        tell(f"loading {model}")
        for record in audit_model(
            _open(run, model, cards[model], chunks, device),
            by_id,
            [open_attack(possible[name]) for name in attacks],
            model=model,
            clean=[one for one in run.outcomes[model, CLEAN.name] if one.question in _answered(run, model)],
            size=questions,
            seed=plan.settings.seed,
            witnesses={
                (other, name): run.witnesses(other, name) for other in plan.models for name in attacks
            },
            tell=lambda what, model=model: tell(f"{model}: {what}"),  # type: ignore[misc]
        ):
            carried = (*run[model, CLEAN.name].audit, *run[model, record.threat].audit)
            records.append(record.model_copy(update={"findings": (*carried, *record.findings)}))
        release_memory()
    return records


def _answered(run: Run, model: str) -> frozenset[str]:
    """The questions that came to an outcome under every threat."""
    found = [{one.question for one in run.outcomes[model, spec.name]} for spec in run.record.plan.threats]
    return frozenset(set.intersection(*found))


def _chunks(run: Run, data: str | None, images: str | Path | None) -> list[list[Question]]:
    """The questions as the run bound them."""
    questions = {question.id: question for question in run.dataset(data, images).questions}
    return [[questions[name] for name in chunk] for chunk in run.record.plan.chunks]


def _cards(run: Run) -> dict[str, Card | Adapter]:
    """By name in the run, the models, none loaded."""
    settings = run.record.plan.settings
    found: dict[str, Card | Adapter] = {}
    for name in settings.models:
        if name in run.adapters:
            found[name] = run.adapters[name]
        else:
            card = card_of(name, settings)
            found[card.id] = card
    return found


def _open(
    run: Run, model: str, card: Card | Adapter, chunks: Sequence[Sequence[Question]], device: str | None
) -> Adapter:
    settings = run.record.plan.settings
    return open_model(
        card,
        questions=chunks[0],
        device=device or settings.device,
        dtype=settings.dtype,
        trust_remote_code=settings.trust_remote_code,
        expected=run.record.models[model],
    )


def _chosen(asked: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    problems = [
        Problem(where, f"{name!r} is not among them", f"use one of {', '.join(known)}")
        for name in asked
        if name not in known
    ]
    if problems:
        raise InvalidInputError(problems)
    return list(asked or known)

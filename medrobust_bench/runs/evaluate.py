"""The main job from end to end: settings → plan → chunks → journal → results.

`carry_out` is what `medrobust run` calls; `evaluate` is the same for those who write Python.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medrobust_bench.data.baselines import without_images
from medrobust_bench.models.cards import Card
from medrobust_bench.models.endpoint.cache import ReplyCache
from medrobust_bench.models.endpoint.settings import Prices
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.folder import RunFolder
from medrobust_bench.records.run import RunRecord
from medrobust_bench.reports.summary import summarise
from medrobust_bench.reports.tables import run_table
from medrobust_bench.runs.extension import extended_settings, misfits, with_stale_controls_dropped
from medrobust_bench.runs.inputs import read_inputs
from medrobust_bench.runs.observer import Observer
from medrobust_bench.runs.plan import environment, make_plan
from medrobust_bench.runs.request import request
from medrobust_bench.runs.run import Run, load_run
from medrobust_bench.runs.work import Work
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.reader import Reader
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.problems import Problem
    from medrobust_bench.records.run import Plan
    from medrobust_bench.runs.engine.engine import Engine
    from medrobust_bench.runs.inputs import Inputs
    from medrobust_bench.runs.request import Request, ThreatLike
    from medrobust_bench.specs.threat import ThreatSpec


def evaluate(
    *,
    model: str | Adapter | Sequence[str | Adapter] | None = None,
    threats: str | ThreatLike | Sequence[str | ThreatLike] | None = None,
    data: str | Dataset | Reader | None = None,
    out: str | Path,
    resume: bool = False,
    extend: bool = False,
    metrics: Sequence[str] = (),
    split: Literal["train", "validation", "test", "all"] = "test",
    modalities: Sequence[str] = (),
    limit: int | None = None,
    skip_invalid: bool = False,
    skip_failed: bool = False,
    max_failed: float = 0.1,
    images: str | Path | None = None,
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None = None,
    max_new_tokens: int | None = None,
    revision: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    float32_attack: bool = True,
    trust_remote_code: bool = False,
    seed: int = 0,
    base_url: str | None = None,
    answers_from: str | None = None,
    key_variable: str | None = None,
    concurrency: int | None = None,
    price_input: float | None = None,
    price_output: float | None = None,
    observer: Observer | None = None,
    engine: Engine | None = None,
) -> Run:
    """Measure robust accuracy; `medrobust run` as a function.

    Args:
        model: one or several: card ids, card files, checkpoint folders, hub ids, `openai:NAME` for a model behind a
            server, or adapters of your own; unset, the shipped ones of the demonstration.
        threats: one or several: as on the command line, specifications, or threats of your own; unset, the official
            ones of the demonstration. Clean answers are always measured.
        data: as on the command line, a `Dataset`, or a reader of your own; unset, phantoms.
        out: folder for everything that is written.
        resume: continue the run that `out` holds.
        extend: add to the run that `out` holds: further models and threats, a larger `limit`, further metrics; what is
            there is kept and not done again. Models in memory of that run are given again.
        metrics: names of further metrics over outcomes; see `register_metric`.
        split: image-disjoint part of the data.
        modalities: only these; empty for all.
        limit: size of a balanced, seeded sample; unset: 24 phantoms, or all of any other data.
        skip_invalid: leave faulty rows out, and say so in the result.
        skip_failed: leave questions that fail in a model out of every result, and say so there.
        max_failed: stop where more than this share of a model's questions fail.
        images: folder of the images, where it is not found.
        answer_mode: instead of the card's.
        max_new_tokens: length limit of a generated answer, instead of the card's.
        revision: hub commit or tag, instead of the card's.
        batch_size: questions per chunk.
        device: "auto", "cpu", "cuda", "cuda:1", …
        dtype: of the weights; "auto" takes the card's.
        float32_attack: attack what a model in half precision leaves standing again, with gradients in float32.
        trust_remote_code: run code from a hub checkpoint's repository.
        seed: of the sample and of every attack.
        base_url: address of the server of `openai:NAME`.
        answers_from: what that server calls the weights of the model: it answers for them, gradients stay here.
        key_variable: environment variable that holds its key.
        concurrency: requests to it at the same time.
        price_input: what it charges per million tokens read.
        price_output: and per million tokens written.
        observer: told about progress.
        engine: who does the work, a `RayEngine` for several workers; by default this process.

    Raises:
        InvalidInputError: with everything that is wrong with the input, before any model is loaded.
    """
    if extend:
        begun = RunFolder(Path(out)).read().plan.settings
        model = begun.models if model is None else model
        threats = begun.threats if threats is None else threats
    asked = request(
        data,
        model=model,
        threats=threats,
        metrics=metrics,
        split=split,
        modalities=modalities,
        limit=limit,
        skip_invalid=skip_invalid,
        skip_failed=skip_failed,
        max_failed=max_failed,
        images=images,
        answer_mode=answer_mode,
        max_new_tokens=max_new_tokens,
        revision=revision,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        float32_attack=float32_attack,
        trust_remote_code=trust_remote_code,
        seed=seed,
        base_url=base_url,
        answers_from=answers_from,
        key_variable=key_variable,
        concurrency=concurrency,
        price_input=price_input,
        price_output=price_output,
    )
    return carry_out(asked, Path(out), resume=resume, extend=extend, observer=observer, engine=engine)


def carry_out(
    request: Request,
    out: Path,
    *,
    resume: bool = False,
    extend: bool = False,
    observer: Observer | None = None,
    engine: Engine | None = None,
) -> Run:
    """Plan, work, and write the results.

    Args:
        request: what to do.
        out: folder for everything that is written; probed before any work.
        resume: continue what `out` holds; a finished run is only summarised again.
        extend: add what the request names to what `out` holds; see `evaluate`.
        observer: told about progress.
        engine: who does the work; by default this process.

    Raises:
        InvalidInputError: everything that is wrong with the input, before any model is loaded.
    """
    prepared = prepare(request, out, resume=resume, extend=extend, observer=observer)
    return perform(prepared, observer=observer, engine=engine)


@dataclass(frozen=True)
class Prepared:
    """A run whose input is found and checked, and whose plan is made; nothing is written and no model loaded yet.

    Attributes:
        folder: where it will be written.
        plan: what will be done.
        inputs: what it works on.
        resume: whether it goes on with what the folder holds.
        extends: the plan of the run that it adds to, if it does.
        dataset: the questions, where they were in memory.
    """

    folder: RunFolder
    plan: Plan
    inputs: Inputs
    resume: bool
    extends: Plan | None
    dataset: Dataset | None


def prepare(
    request: Request,
    out: Path,
    *,
    resume: bool = False,
    extend: bool = False,
    observer: Observer | None = None,
) -> Prepared:
    """Find and check everything that a run needs; see `carry_out` for the arguments.

    Raises:
        InvalidInputError: everything that is wrong with the input.
    """
    folder, settings = RunFolder(out), request.settings
    resume = resume or extend
    problems = folder.check(resume=resume)
    begun = folder.read().plan if resume and not problems and not folder.is_empty() else None
    if extend and begun is not None:
        settings = extended_settings(begun.settings, settings)
    frozen = {} if begun is None else _frozen_threats(begun)
    inputs = read_inputs(
        settings,
        problems=problems,
        adapters=request.adapters,
        threats=request.threats,
        frozen=frozen,
        dataset=request.dataset,
    )
    (observer or Observer()).opened(inputs.dataset.notes)
    plan = make_plan(
        settings,
        inputs.dataset,
        models=tuple(inputs.models),
        threats=inputs.threats,
        kept=() if begun is None else _kept(begun, inputs.dataset),
    )
    if extend and begun is not None and (found := misfits(begun, plan, inputs.dataset)):
        raise InvalidInputError(found)
    return Prepared(folder, plan, inputs, resume, begun if extend else None, request.dataset)


def _kept(begun: Plan, dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """The chunks of a run, where all of their questions are there."""
    there = {question.id for question in dataset.questions}
    return begun.chunks if all(question in there for chunk in begun.chunks for question in chunk) else ()


def perform(prepared: Prepared, *, observer: Observer | None = None, engine: Engine | None = None) -> Run:
    """Do what a prepared run plans, and write the results; see `carry_out`.

    Raises:
        InvalidInputError: a model cannot be measured; the results of the others are written.
    """
    folder, inputs = prepared.folder, prepared.inputs
    with folder.writing():
        _write_run(
            folder,
            prepared.plan,
            inputs,
            observer or Observer(),
            engine,
            resume=prepared.resume,
            extends=prepared.extends,
        )
    in_memory = [model for model in inputs.models.values() if not isinstance(model, Card)]
    return load_run(folder.path, models=in_memory, data=prepared.dataset)


def _write_run(
    folder: RunFolder,
    plan: Plan,
    inputs: Inputs,
    watch: Observer,
    engine: Engine | None,
    *,
    resume: bool,
    extends: Plan | None,
) -> None:
    """Do what is left of a plan, and write the results."""
    settings = plan.settings
    if extends is not None:
        _drop_stale_controls(folder, extends, plan, inputs.dataset)

    def here(device: str) -> RunRecord:
        return RunRecord(plan=plan, environment=environment(device))

    # Which device "auto" is here says torch, and matters only where something is left to do.
    goes_on = resume and extends is None and settings.device == "auto" and not folder.is_empty()
    begun = here(folder.read().environment.device if goes_on else settings.device)
    record = folder.begin(begun, resume=resume, extend=extends is not None)
    finished = folder.finished(plan)
    watch.started(plan, finished)
    work = Work(inputs, plan, folder, watch, finished)
    if goes_on and any(map(work.remains, plan.models)):
        folder.compare(here(settings.device))
    stopped: dict[str, tuple[Problem, ...]] = {}
    for model in plan.models:
        try:
            if work.remains(model):
                record = _work_on(model, work, folder, record, watch, engine or _this_process())
            work.check(model)
        except InvalidInputError as error:
            stopped[model] = error.problems
            work.stop(model)
            if model != plan.models[-1]:
                watch.stopped(model, error.problems)
        finally:
            _write_usage(folder, model, inputs.models[model])
    _write_results(folder, record, work, inputs, [model for model in plan.models if model not in stopped])
    if stopped:
        raise InvalidInputError([problem for problems in stopped.values() for problem in problems])


def _work_on(
    model: str, work: Work, folder: RunFolder, record: RunRecord, watch: Observer, engine: Engine
) -> RunRecord:
    """Do what is left of a model's part of a plan; gives the run's record with what the model turned out to be.

    Raises:
        InvalidInputError: the model cannot be opened or asked, or too many questions fail in it.
    """
    from medrobust_bench.runs.models import server_faults  # imports torch

    watch.loading(model)
    remedy = f"see to the server, then go on with `medrobust run --resume --out {folder.path}`"
    with server_faults(model, remedy=remedy), engine.opened(work.task(model)) as workers:
        watch.asked(model, workers.asked.notes)
        record = folder.enter_model(record, model, workers.record, workers.asked.prompt)
        for done in workers.work(work.chunks(model)):
            work.record(done)
    return record


def _this_process() -> Engine:
    from medrobust_bench.runs.engine.local import LocalEngine  # imports torch

    return LocalEngine()


def _write_results(
    folder: RunFolder, record: RunRecord, work: Work, inputs: Inputs, models: Sequence[str]
) -> None:
    """Write what models came to that were measured to the end."""
    given_away = without_images(inputs.dataset)
    data = work.data()
    results = [
        summarise(
            measured.outcomes,
            model=record.models[model],
            data=data,
            threat=measured.threat,
            seed=record.plan.settings.seed,
            environment=record.environment,
            audit=measured.audit,
            metrics=inputs.metrics,
            without_images=given_away,
            dependent=work.dependent(model),
            failed=measured.failed,
        )
        for model in models
        for measured in work.measured(model, record.models[model])
    ]
    for result in results:
        folder.write_result(result)
    if results:
        folder.write_table(run_table(results))


def _drop_stale_controls(folder: RunFolder, before: Plan, now: Plan, dataset: Dataset) -> None:
    """Before a plan with more questions is written: a run that is killed here is still the one that it was."""
    asked = {question for chunk in before.chunks for question in chunk}
    earlier = replace(dataset, questions=tuple(one for one in dataset.questions if one.id in asked))
    lines = folder.finished(before)
    seed = now.settings.seed
    folder.journal.replace(
        [*with_stale_controls_dropped(lines, earlier, dataset, seed=seed), *folder.journal.failures()]
    )


def _write_usage(folder: RunFolder, model: str, source: Card | Adapter) -> None:
    """Count what a server was asked for a model, now and before the run was interrupted."""
    path = folder.replies_path(model)
    if not path.exists():
        return
    options = (source.endpoint or source.answers_from) if isinstance(source, Card) else None
    replies = ReplyCache(path)
    folder.write_usage(model, replies.totals(Prices() if options is None else options.prices))
    replies.close()


def _frozen_threats(begun: Plan) -> dict[str, ThreatSpec]:
    """The threats of a run as it began with them, whatever has become of their files since."""
    texts = [text for text in begun.settings.threats if text != CLEAN.name]
    specs = [spec for spec in begun.threats if spec.yields != "clean"]
    return dict(zip(texts, specs, strict=True))

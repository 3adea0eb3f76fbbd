"""The main job from end to end: settings → plan → chunks → journal → results.

`carry_out` is what `medrobust run` calls; `evaluate` is the same for those who write Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.cohen import Certification
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.folder import RunFolder
from medrobust_bench.records.run import RunRecord
from medrobust_bench.reports.summary import summarise
from medrobust_bench.reports.tables import run_table
from medrobust_bench.reports.worst_case import worst_cases
from medrobust_bench.runs.audit.blindness import sampled_questions, strangers
from medrobust_bench.runs.audit.carried import carried_audit
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.inputs import Inputs, read_inputs
from medrobust_bench.runs.models import open_model
from medrobust_bench.runs.plan import environment, make_plan
from medrobust_bench.runs.run import Run, load_run
from medrobust_bench.runs.threats import open_threat
from medrobust_bench.specs.kinds import ThreatClass, is_known, register_threat
from medrobust_bench.specs.settings import RunSettings, settings_from
from medrobust_bench.specs.threat import CLEAN, ThreatSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question
    from medrobust_bench.data.reader import Reader
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import Finding, Outcome
    from medrobust_bench.records.run import Plan
    from medrobust_bench.records.witness import Witness

    ThreatLike = Threat | AlteringThreat | Certification | ThreatSpec


class Observer(Protocol):
    """Somebody who watches a run."""

    def opened(self, notes: Sequence[str]) -> None:
        """The data set is open; `notes` say how it was understood, one sentence each."""
        ...

    def started(self, plan: Plan, finished: Sequence[Outcome]) -> None:
        """The plan is made; `finished` is what an earlier, interrupted run had done of it."""
        ...

    def loading(self, model: str) -> None:
        """A model is about to be loaded."""
        ...

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """A chunk under one threat is in the journal, or one of its certificates."""
        ...


class Silent:
    """An observer that looks away."""

    def opened(self, notes: Sequence[str]) -> None:
        """See `Observer`."""

    def started(self, plan: Plan, finished: Sequence[Outcome]) -> None:
        """See `Observer`."""

    def loading(self, model: str) -> None:
        """See `Observer`."""

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """See `Observer`."""


def evaluate(
    *,
    model: str | Adapter | Sequence[str | Adapter] | None = None,
    threats: str | ThreatLike | Sequence[str | ThreatLike] | None = None,
    data: str | Dataset | Reader | None = None,
    out: str | Path,
    resume: bool = False,
    metrics: Sequence[str] = (),
    split: Literal["train", "validation", "test", "all"] = "test",
    modalities: Sequence[str] = (),
    limit: int | None = None,
    skip_invalid: bool = False,
    images: str | Path | None = None,
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None = None,
    max_new_tokens: int | None = None,
    revision: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    trust_remote_code: bool = False,
    seed: int = 0,
    observer: Observer | None = None,
) -> Run:
    """Measure robust accuracy; `medrobust run` as a function.

    Args:
        model: one or several: card ids, card files, checkpoint folders, hub ids, or adapters of your own; unset, the
            shipped ones of the demonstration.
        threats: one or several: as on the command line, specifications, or threats of your own; unset, the official
            ones of the demonstration. Clean answers are always measured.
        data: as on the command line, a `Dataset`, or a reader of your own; unset, phantoms.
        out: folder for everything that is written.
        resume: continue the run that `out` holds.
        metrics: names of further metrics over outcomes; see `register_metric`.
        split: image-disjoint part of the data.
        modalities: only these; empty for all.
        limit: size of a balanced, seeded sample; unset: 24 phantoms, or all of any other data.
        skip_invalid: leave faulty rows out, and say so in the result.
        images: folder of the images, where it is not found.
        answer_mode: instead of the card's.
        max_new_tokens: length limit of a generated answer, instead of the card's.
        revision: hub commit or tag, instead of the card's.
        batch_size: questions per chunk.
        device: "auto", "cpu", "cuda", "cuda:1", …
        dtype: of the weights; "auto" takes the card's.
        trust_remote_code: run code from a hub checkpoint's repository.
        seed: of the sample and of every attack.
        observer: told about progress.

    Raises:
        InvalidInputError: with everything that is wrong with the input, before any model is loaded.
    """
    demo = RunSettings()
    models: list[str | Adapter] = _several(demo.models if model is None else model)
    asked: list[str | ThreatLike] = _several(demo.threats if threats is None else threats)
    opened = [threat if isinstance(threat, str) else _opened(threat) for threat in asked]
    settings = settings_from(
        {
            "models": tuple(item if isinstance(item, str) else item.record.id for item in models),
            "threats": tuple(item if isinstance(item, str) else item.spec.name for item in opened),
            "data": demo.data if data is None else data if isinstance(data, str) else data.name,
            "metrics": tuple(metrics),
            "split": split,
            "modalities": tuple(modalities),
            "limit": limit,
            "skip_invalid": skip_invalid,
            "images": None if images is None else str(images),
            "answer_mode": answer_mode,
            "max_new_tokens": max_new_tokens,
            "revision": revision,
            "batch_size": batch_size,
            "device": device,
            "dtype": dtype,
            "trust_remote_code": trust_remote_code,
            "seed": seed,
        },
        where="evaluate()",
    )
    return carry_out(
        settings,
        Path(out),
        resume=resume,
        observer=observer,
        adapters={item.record.id: item for item in models if not isinstance(item, str)},
        threats={item.spec.name: item for item in opened if not isinstance(item, str)},
        dataset=_in_memory(data, settings),
    )


def _in_memory(data: str | Dataset | Reader | None, settings: RunSettings) -> Dataset | None:
    """The questions, where they are not to be found by name."""
    if data is None or isinstance(data, str):
        return None
    if isinstance(data, Dataset):
        return data
    return open_data(
        data,
        split=settings.split,
        skip_invalid=settings.skip_invalid,
        modalities=settings.modalities,
        images=None if settings.images is None else Path(settings.images),
    )


def carry_out(
    settings: RunSettings,
    out: Path,
    *,
    resume: bool = False,
    observer: Observer | None = None,
    adapters: Mapping[str, Adapter] | None = None,
    threats: Mapping[str, Threat | AlteringThreat | Certification] | None = None,
    dataset: Dataset | None = None,
) -> Run:
    """Plan, work, and write the results.

    Args:
        settings: what to do.
        out: folder for everything that is written; probed before any work.
        resume: continue what `out` holds; a finished run is only summarised again.
        observer: told about progress.
        adapters: models already in memory, under the names that `settings.models` gives them.
        threats: threats already in memory, under the names that `settings.threats` gives them.
        dataset: questions already in memory, instead of `settings.data`.

    Raises:
        InvalidInputError: everything that is wrong with the input, before any model is loaded.
    """
    watch = observer or Silent()
    folder = RunFolder(out)
    problems = folder.check(resume=resume)
    frozen = _frozen_threats(folder, settings) if resume and not problems else {}
    inputs = read_inputs(
        settings, problems=problems, adapters=adapters, threats={**frozen, **(threats or {})}, dataset=dataset
    )
    watch.opened(inputs.dataset.notes)
    plan = make_plan(
        settings,
        inputs.dataset,
        models=tuple(inputs.models),
        threats=[threat.spec for threat in inputs.threats],
    )
    with folder.writing():
        _write_run(folder, plan, inputs, watch, resume=resume)
    return load_run(out, models=tuple((adapters or {}).values()), data=dataset)


def _write_run(folder: RunFolder, plan: Plan, inputs: Inputs, watch: Observer, *, resume: bool) -> None:
    """Do what is left of a plan, and write the results."""
    settings = plan.settings
    record = folder.begin(RunRecord(plan=plan, environment=environment(settings.device)), resume=resume)
    finished = folder.finished(plan)
    watch.started(plan, finished)
    work = _Work(inputs, plan, folder, watch, finished)
    for model, source in inputs.models.items():
        if work.remains(model):
            watch.loading(model)
            adapter = open_model(
                source,
                questions=work.first_questions(),
                device=settings.device,
                dtype=settings.dtype,
                trust_remote_code=settings.trust_remote_code,
            )
            record = folder.enter_model(record, model, adapter.record)
            work.evaluate(model, adapter)
    results = [
        summarise(
            outcomes,
            model=record.models[model],
            data=plan.data,
            threat=threat,
            seed=settings.seed,
            environment=record.environment,
            audit=findings,
            metrics=inputs.metrics,
        )
        for model in plan.models
        for threat, outcomes, findings in work.by_threat(model)
    ]
    for result in results:
        folder.write_result(result)
    folder.write_table(run_table(results))


def _frozen_threats(
    folder: RunFolder, settings: RunSettings
) -> dict[str, Threat | AlteringThreat | Certification]:
    """The threats of an interrupted run as it began with them, whatever has become of their files since."""
    plan = folder.read().plan
    texts = [text for text in plan.settings.threats if text != CLEAN.name]
    if plan.settings.threats != settings.threats:
        return {}
    specs = [spec for spec in plan.threats if spec.yields != "clean"]
    return {text: open_threat(spec) for text, spec in zip(texts, specs, strict=True)}


def _several(given: Any) -> list[Any]:
    """One or several, as a list."""
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def _opened(threat: ThreatLike) -> Threat | AlteringThreat | Certification:
    """A threat of the caller's; its kind becomes known, so that the run can be read again."""
    if isinstance(threat, ThreatSpec):
        return open_threat(threat)
    if not is_known(threat.spec.kind):
        register_threat(cast("ThreatClass", type(threat)))
    return threat


class _Work:
    """What is done and what remains of a plan."""

    def __init__(
        self, inputs: Inputs, plan: Plan, folder: RunFolder, watch: Observer, finished: Sequence[Outcome]
    ) -> None:
        self._plan, self._folder, self._watch = plan, folder, watch
        self._threats = inputs.threats
        self._training = inputs.training
        self._questions = {question.id: question for question in inputs.dataset.questions}
        self._done = {(outcome.model, outcome.threat, outcome.question): outcome for outcome in finished}
        self._sampled = sampled_questions(plan)
        self._strangers = strangers(inputs.dataset.questions, seed=plan.settings.seed)

    def first_questions(self) -> list[Question]:
        """The first chunk, whose images share one shape."""
        return [self._questions[name] for name in self._plan.chunks[0]]

    def remains(self, model: str) -> bool:
        """Whether anything is left to do for a model."""
        return any(
            (model, threat.name, question) not in self._done
            for threat in self._plan.threats
            for question in self._questions
        )

    def by_threat(self, model: str) -> list[tuple[ThreatSpec, list[Outcome], tuple[Finding, ...]]]:
        """Per threat one outcome per question, in the order of the data set, and what their audit found.

        The worst cases come last.
        """
        threats = self._plan.threats
        outcomes = {
            threat.name: [self._done[model, threat.name, question] for question in self._questions]
            for threat in threats
        }
        runs = [(threat, outcomes[threat.name]) for threat in threats] + worst_cases(threats, outcomes)
        options = {name: len(question.options) for name, question in self._questions.items()}
        audits = carried_audit(runs, options)
        return [(*run, findings) for run, findings in zip(runs, audits, strict=True)]

    def evaluate(self, model: str, adapter: Adapter) -> None:
        """Do what is left for a model; each chunk is bound once and meets every threat in turn.

        Raises:
            InvalidInputError: a threat needs gradients that the model does not give.
        """
        blocked = [
            threat.spec.name
            for threat in self._threats
            if threat.spec.white_box and not adapter.differentiable
        ]
        if blocked:
            what = f"gives no gradient in the pixels, which {', '.join(blocked)} need"
            raise InvalidInputError(
                [Problem(where=model, what=what, remedy="take gradient-free threats, such as noise")]
            )
        threats = self._trained(model, adapter)
        for index, ids in enumerate(self._plan.chunks):
            left = {
                threat.name: [
                    row for row, name in enumerate(ids) if (model, threat.name, name) not in self._done
                ]
                for threat in self._plan.threats
            }
            if not any(left.values()):
                continue
            chunk = Chunk(
                adapter, model, [self._questions[name] for name in ids], seed=self._plan.settings.seed
            )
            if left[CLEAN.name]:
                self._keep(chunk.without_images(chunk.clean(), self._sampled, self._strangers), [], index)
            clean = [self._done[model, CLEAN.name, question] for question in ids]
            for threat in threats:
                rows = left[threat.spec.name]
                if isinstance(threat, Certification):
                    for outcome in chunk.certify(threat, clean, rows):
                        self._keep([outcome], [], index)
                elif isinstance(threat, AlteringThreat):
                    if rows:
                        self._keep(chunk.alter(threat, clean), [], index)
                elif rows:
                    self._keep(*chunk.attack(threat, clean), index)

    def _trained(self, model: str, adapter: Adapter) -> list[Threat | AlteringThreat | Certification]:
        """The threats, those that learn trained against a model if any of their questions is left to do."""
        left = {
            threat.name
            for threat in self._plan.threats
            if any((model, threat.name, question) not in self._done for question in self._questions)
        }
        seed = self._plan.settings.seed
        return [
            threat.train(adapter, self._training[: threat.training_questions], seed=seed)
            if isinstance(threat, TrainedThreat) and threat.spec.name in left
            else threat
            for threat in self._threats
        ]

    def _keep(self, outcomes: Sequence[Outcome], witnesses: Sequence[Witness], chunk: int) -> None:
        self._folder.record_outcomes(outcomes, witnesses, chunk=chunk)
        self._done.update(
            {(outcome.model, outcome.threat, outcome.question): outcome for outcome in outcomes}
        )
        self._watch.advanced(outcomes)

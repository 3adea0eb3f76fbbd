"""The main job from end to end: settings → plan → chunks → journal → results.

`run` is what `medrobust run` calls; `evaluate` is the same for those who write Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.cohen import Certification
from medrobust_bench.models.averaged import wrap_if_stochastic
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import ThreatRecord
from medrobust_bench.reports.summary import summarise
from medrobust_bench.reports.tables import run_table
from medrobust_bench.reports.worst_case import worst_case
from medrobust_bench.runs.audit.blindness import sampled_questions
from medrobust_bench.runs.audit.carried import carried_audit
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.folder import RunFolder
from medrobust_bench.runs.inputs import Inputs, read_inputs
from medrobust_bench.runs.plan import CLEAN, RunRecord, environment, make_plan
from medrobust_bench.specs.settings import RunSettings, settings_from

if TYPE_CHECKING:
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import Finding, Outcome, Result
    from medrobust_bench.runs.plan import Plan
    from medrobust_bench.runs.witness import Witness


class Observer(Protocol):
    """Somebody who watches a run."""

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

    def started(self, plan: Plan, finished: Sequence[Outcome]) -> None:
        """See `Observer`."""

    def loading(self, model: str) -> None:
        """See `Observer`."""

    def advanced(self, outcomes: Sequence[Outcome]) -> None:
        """See `Observer`."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: holds `run.json`, `journal.jsonl`, `witnesses/`, `results/` and `leaderboard.md`.
        results: one per model and threat, in the plan's order, and per model the worst case over its attacks.
    """

    folder: Path
    results: tuple[Result, ...]

    def table(self) -> str:
        """The results as Markdown."""
        return run_table(self.results)


def evaluate(
    *,
    model: str | Adapter | Sequence[str | Adapter] | None = None,
    threats: str | Sequence[str] | None = None,
    data: str | Dataset | None = None,
    out: str | Path,
    resume: bool = False,
    **settings: Any,
) -> Run:
    """Measure robust accuracy; `medrobust run` as a function.

    Args:
        model: registry ids, checkpoint folders, hub ids, or adapters of your own; unset, the shipped ones.
        threats: as on the command line; unset, the official ones of the demonstration.
        data: as on the command line, or a `Dataset`; unset, phantoms.
        out: folder for everything that is written.
        resume: continue the run that `out` holds.
        settings: any other field of `RunSettings`.

    Raises:
        InvalidInputError: with everything that is wrong with the input, before any model is loaded.
    """
    if model is not None:
        models = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
        adapters = {item.record.id: item for item in models if not isinstance(item, str)}
        settings["models"] = tuple(item if isinstance(item, str) else item.record.id for item in models)
    else:
        adapters = {}
    if threats is not None:
        settings["threats"] = (threats,) if isinstance(threats, str) else tuple(threats)
    dataset = None if data is None or isinstance(data, str) else data
    if data is not None:
        settings["data"] = data if dataset is None else dataset.name
    return run(
        settings_from(settings, where="evaluate()"),
        Path(out),
        resume=resume,
        adapters=adapters,
        dataset=dataset,
    )


def run(
    settings: RunSettings,
    out: Path,
    *,
    resume: bool = False,
    observer: Observer | None = None,
    adapters: dict[str, Adapter] | None = None,
    dataset: Dataset | None = None,
) -> Run:
    """Plan, work, and write the results.

    Args:
        settings: what to do.
        out: folder for everything that is written; probed before any work.
        resume: continue what `out` holds; a finished run is only summarised again.
        observer: told about progress.
        adapters: models already in memory, under the names that `settings.models` gives them.
        dataset: questions already in memory, instead of `settings.data`.

    Raises:
        InvalidInputError: everything that is wrong with the input, before any model is loaded.
    """
    watch = observer or Silent()
    folder = RunFolder(out)
    inputs = read_inputs(settings, problems=folder.check(resume=resume), adapters=adapters, dataset=dataset)
    plan = make_plan(
        settings,
        inputs.dataset,
        models=tuple(inputs.models),
        threats=[ThreatRecord(**threat.spec.model_dump(mode="json")) for threat in inputs.threats],
    )
    record = folder.begin(RunRecord(plan=plan, environment=environment(settings.device)), resume=resume)
    finished = folder.finished(plan)
    watch.started(plan, finished)
    work = _Work(inputs, plan, folder, watch, finished)
    for model, load in inputs.models.items():
        if work.remains(model):
            watch.loading(model)
            adapter = wrap_if_stochastic(load(), work.first_questions())
            record = folder.enter_model(record, model, adapter.record)
            work.evaluate(model, adapter)
    results = tuple(
        summarise(
            outcomes,
            model=record.models[model],
            data=plan.data,
            threat=threat,
            seed=settings.seed,
            environment=record.environment,
            audit=findings,
        )
        for model in plan.models
        for threat, outcomes, findings in work.by_threat(model)
    )
    for result in results:
        folder.write_result(result)
    finished_run = Run(folder=out, results=results)
    folder.write_table(finished_run.table())
    return finished_run


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

    def by_threat(self, model: str) -> list[tuple[ThreatRecord, list[Outcome], tuple[Finding, ...]]]:
        """Per threat one outcome per question, in the order of the data set, and what their audit found.

        The worst case over attacks comes last.
        """
        threats = self._plan.threats
        outcomes = {
            threat.name: [self._done[model, threat.name, question] for question in self._questions]
            for threat in threats
        }
        worst = worst_case(threats, outcomes)
        runs = [(threat, outcomes[threat.name]) for threat in threats] + ([worst] if worst else [])
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
            if threat.needs_gradient and not adapter.differentiable
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
                self._keep(chunk.without_images(chunk.clean(), self._sampled), [], index)
            clean = [self._done[model, CLEAN.name, question] for question in ids]
            for threat in threats:
                rows = left[threat.spec.name]
                if isinstance(threat, Certification):
                    for outcome in chunk.certify(threat, clean, rows):
                        self._keep([outcome], [], index)
                elif rows:
                    self._keep(*chunk.attack(threat, clean), index)

    def _trained(self, model: str, adapter: Adapter) -> list[Threat | Certification]:
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

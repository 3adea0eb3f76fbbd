"""The work of a run: what is done of a plan, and what remains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.reports.worst_case import worst_cases
from medrobust_bench.runs.audit.blindness import dependent_answers, sampled_questions, strangers
from medrobust_bench.runs.audit.carried import carried_audit
from medrobust_bench.runs.engine.task import ChunkTask, ModelTask
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Finding, Outcome
    from medrobust_bench.records.folder import RunFolder
    from medrobust_bench.records.run import Plan
    from medrobust_bench.runs.engine.task import Done
    from medrobust_bench.runs.inputs import Inputs
    from medrobust_bench.runs.observer import Observer
    from medrobust_bench.specs.threat import ThreatSpec


class Work:
    """What is done and what remains of a plan.

    Args:
        inputs: what the plan was made of.
        plan: of the run.
        folder: where everything that is done is written down at once.
        watch: told of it.
        finished: what an interrupted run had done.
    """

    def __init__(
        self, inputs: Inputs, plan: Plan, folder: RunFolder, watch: Observer, finished: Sequence[Outcome]
    ) -> None:
        self._plan, self._folder, self._watch, self._inputs = plan, folder, watch, inputs
        self._questions = {question.id: question for question in inputs.dataset.questions}
        self._done = {(outcome.model, outcome.threat, outcome.question): outcome for outcome in finished}
        sampled = sampled_questions(self._questions, seed=plan.settings.seed)
        others = strangers(inputs.dataset.questions, seed=plan.settings.seed)
        self._unseen = {name: others.get(name) for name in sampled}

    def remains(self, model: str) -> bool:
        """Whether anything is left to do for a model."""
        return bool(self._threats_left(model))

    def task(self, model: str) -> ModelTask:
        """What whoever works on a model needs."""
        left = self._threats_left(model)
        learning = frozenset(
            threat.spec.name
            for threat in self._inputs.threats
            if isinstance(threat, TrainedThreat) and threat.spec.name in left
        )
        return ModelTask(
            model=model,
            source=self._inputs.models[model],
            settings=self._plan.settings,
            threats=self._inputs.threats,
            learning=learning,
            training=self._inputs.training if learning else (),
            probe=tuple(self._questions[name] for name in self._plan.chunks[0]),
        )

    def chunks(self, model: str) -> list[ChunkTask]:
        """The chunks of which something is left to do for a model, in the plan's order."""
        tasks = []
        for index, ids in enumerate(self._plan.chunks):
            left = {
                threat.name: tuple(
                    row for row, name in enumerate(ids) if (model, threat.name, name) not in self._done
                )
                for threat in self._plan.threats
            }
            if any(left.values()):
                known = {name: self._done.get((model, CLEAN.name, name)) for name in ids}
                tasks.append(
                    ChunkTask(
                        index=index,
                        questions=tuple(self._questions[name] for name in ids),
                        left=left,
                        clean={name: outcome for name, outcome in known.items() if outcome is not None},
                        unseen={name: self._unseen[name] for name in ids if name in self._unseen},
                    )
                )
        return tasks

    def record(self, done: Done) -> None:
        """Write down what is done."""
        self._folder.record_outcomes(done.outcomes, done.witnesses, chunk=done.chunk)
        self._done.update(
            {(outcome.model, outcome.threat, outcome.question): outcome for outcome in done.outcomes}
        )
        self._watch.advanced(done.outcomes)

    def dependent(self, model: str) -> dict[str, bool]:
        """Whether a model's clean answers are right and depend on the image, where that was asked."""
        clean = [self._done[model, CLEAN.name, question] for question in self._questions]
        return dependent_answers(clean, frozenset(self._unseen))

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
        audits = carried_audit(runs, options, texts=self._inputs.dataset.option_texts)
        return [(*run, findings) for run, findings in zip(runs, audits, strict=True)]

    def _threats_left(self, model: str) -> set[str]:
        """Names of the threats under which a question of a model is left to do."""
        return {
            threat.name
            for threat in self._plan.threats
            if any((model, threat.name, question) not in self._done for question in self._questions)
        }

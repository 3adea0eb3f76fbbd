"""The work of a run: what is done of a plan, and what remains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import SkippedRow
from medrobust_bench.reports.worst_case import failed_under, worst_cases
from medrobust_bench.runs.audit.blindness import dependent_answers, sampled_questions, strangers
from medrobust_bench.runs.audit.carried import carried_audit
from medrobust_bench.runs.engine.task import ChunkTask, ModelTask
from medrobust_bench.specs.settings import FEWEST_FAILED
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import DataRecord, Failure, Finding, ModelRecord, Outcome
    from medrobust_bench.records.folder import RunFolder
    from medrobust_bench.records.run import Plan
    from medrobust_bench.runs.engine.task import Done
    from medrobust_bench.runs.inputs import Inputs
    from medrobust_bench.runs.observer import Observer
    from medrobust_bench.specs.threat import ThreatSpec


PROBED = 8
"""Chunks among which a model finds questions that it can take, to see whether its scores are random."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the result of a model under a threat is made of.

    Attributes:
        threat: of the plan, or the worst case over several of its attacks.
        outcomes: one per question that came to one, in the order of the data set.
        failed: questions that did not, by kind of fault.
        audit: what was found in the outcomes.
    """

    threat: ThreatSpec
    outcomes: list[Outcome]
    failed: dict[str, int]
    audit: tuple[Finding, ...]


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
        self._failures: list[Failure] = []
        sampled = sampled_questions(self._questions, seed=plan.settings.seed)
        others = strangers(inputs.dataset.questions, seed=plan.settings.seed)
        self._unseen = {name: others.get(name) for name in sampled}

    def remains(self, model: str) -> bool:
        """Whether anything is left to do for a model."""
        return bool(self._threats_left(model)) or any(self._again(model, name) for name in self._unseen)

    def task(self, model: str) -> ModelTask:
        """What whoever works on a model needs."""
        left, threats = self._threats_left(model), self._inputs.open_threats()
        learning = frozenset(
            threat.spec.name
            for threat in threats
            if isinstance(threat, TrainedThreat) and threat.spec.name in left
        )
        return ModelTask(
            model=model,
            source=self._inputs.models[model],
            settings=self._plan.settings,
            threats=threats,
            learning=learning,
            training=self._inputs.training if learning else (),
            probe=tuple(self._questions[name] for chunk in self._plan.chunks[:PROBED] for name in chunk),
            replies=self._folder.replies_path(model),
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
            again = tuple(row for row, name in enumerate(ids) if self._again(model, name))
            if any(left.values()) or again:
                known = {name: self._done.get((model, CLEAN.name, name)) for name in ids}
                tasks.append(
                    ChunkTask(
                        index=index,
                        questions=tuple(self._questions[name] for name in ids),
                        left=left,
                        clean={name: outcome for name, outcome in known.items() if outcome is not None},
                        unseen={name: self._unseen[name] for name in ids if name in self._unseen},
                        again=again,
                    )
                )
        return tasks

    def record(self, done: Done) -> None:
        """Write down what is done.

        Raises:
            InvalidInputError: more questions have failed than the settings allow.
        """
        self._folder.record_outcomes(
            done.outcomes,
            done.witnesses,
            chunk=done.chunk,
            questions=self._plan.chunks[done.chunk],
            failures=done.failures,
        )
        new = [one for one in done.outcomes if (one.model, one.threat, one.question) not in self._done]
        self._done.update(
            {(outcome.model, outcome.threat, outcome.question): outcome for outcome in done.outcomes}
        )
        if new:
            self._watch.advanced(new)
        if done.failures:
            self._failures += done.failures
            self._watch.failed(done.failures)
            self._stop_where_too_many_failed(done.failures[0].model)

    def check(self, model: str) -> None:
        """After the last chunk of a model.

        Raises:
            InvalidInputError: a threat has no outcome at all.
        """
        for threat in self._plan.threats:
            if not any((model, threat.name, question) in self._done for question in self._questions):
                failures = [failure for failure in self._failures if failure.model == model]
                raise InvalidInputError([_too_many(model, failures, self._plan, self._folder)])

    def stop(self, model: str) -> None:
        """A model cannot be measured to its end: the failures that show it cost the other models no question."""
        self._failures = [failure for failure in self._failures if failure.model != model]

    def dependent(self, model: str) -> dict[str, bool]:
        """Whether a model's clean answers are right and depend on the image, where that was asked."""
        found = [self._done.get((model, CLEAN.name, question)) for question in self.asked()]
        return dependent_answers([one for one in found if one is not None], frozenset(self._unseen))

    def measured(self, model: str, record: ModelRecord) -> list[Measured]:
        """Per threat what its result is made of, in the plan's order; the worst cases come last.

        Raises:
            InvalidInputError: a threat has no outcome at all.
        """
        threats, asked = self._plan.threats, self.asked()
        outcomes = {
            threat.name: [
                self._done[model, threat.name, question]
                for question in asked
                if (model, threat.name, question) in self._done
            ]
            for threat in threats
        }
        failures = [] if self._plan.settings.skip_failed else self._failures
        of_model = [failure for failure in failures if failure.model == model]
        if not all(outcomes.values()):
            raise InvalidInputError([_too_many(model, of_model or self._failures, self._plan, self._folder)])
        runs = [(threat, outcomes[threat.name]) for threat in threats] + worst_cases(threats, outcomes)
        answered = set.intersection(*({one.question for one in found} for found in outcomes.values()))
        audits = self._audits(
            [(threat, [o for o in found if o.question in answered]) for threat, found in runs], record
        )
        return [
            Measured(threat, found, failed_under(threat, of_model), findings)
            for (threat, found), findings in zip(runs, audits, strict=True)
        ]

    def asked(self) -> list[str]:
        """The questions that count, in the order of the data set: without the failed ones where these are skipped."""
        skipped = (
            {failure.question for failure in self._failures} if self._plan.settings.skip_failed else set()
        )
        return [question for question in self._questions if question not in skipped]

    def data(self) -> DataRecord:
        """The data that results are about."""
        data, asked = self._plan.data, self.asked()
        if len(asked) == len(self._questions):
            return data
        reasons: dict[str, Failure] = {}
        for failure in self._failures:
            reasons.setdefault(failure.question, failure)
        dataset = self._inputs.dataset
        rest = replace(dataset, questions=tuple(self._questions[name] for name in asked))
        skipped = [
            SkippedRow(where=question, row=None, reason=f"failed: {failure}")
            for question, failure in reasons.items()
        ]
        return data.model_copy(
            update={
                "n": len(asked),
                "digest": rest.digest(),
                "skipped": (*data.skipped, *skipped),
                "groups": rest.groups(),
                "preparation": rest.preparation(),
            }
        )

    def _audits(
        self, runs: Sequence[tuple[ThreatSpec, list[Outcome]]], record: ModelRecord
    ) -> list[tuple[Finding, ...]]:
        """What the audit finds in outcomes of the same questions; nothing where no question met every threat."""
        if not runs[0][1]:
            return [()] * len(runs)
        texts = self._inputs.dataset.option_texts
        return carried_audit(runs, self._questions, model=record, texts=texts)

    def _stop_where_too_many_failed(self, model: str) -> None:
        failures = [failure for failure in self._failures if failure.model == model]
        count = len({failure.question for failure in failures})
        if count >= FEWEST_FAILED and count > self._plan.settings.max_failed * self._plan.data.n:
            raise InvalidInputError([_too_many(model, failures, self._plan, self._folder)])

    def _again(self, model: str, question: str) -> bool:
        """Whether a question is to be asked without its image after its clean outcome: the run was extended."""
        clean = self._done.get((model, CLEAN.name, question))
        return (
            question in self._unseen and clean is not None and clean.correct and clean.blind_choices is None
        )

    def _threats_left(self, model: str) -> set[str]:
        """Names of the threats under which a question of a model is left to do."""
        return {
            threat.name
            for threat in self._plan.threats
            if any((model, threat.name, question) not in self._done for question in self._questions)
        }


def _too_many(model: str, failures: Sequence[Failure], plan: Plan, folder: RunFolder) -> Problem:
    """So many failed questions that a result would mean nothing."""
    count = len({failure.question for failure in failures})
    ((kind, _times),) = Counter(failure.error for failure in failures).most_common(1)
    example = next(failure for failure in failures if failure.error == kind)
    what = f"{count} of {plan.data.n} questions failed, most with {kind}; such as {example}"
    remedy = (
        f"see {folder.journal.path} for the others, and what `medrobust models check` and `medrobust data check` find; "
        f"then go on with `medrobust run --resume --out {folder.path}`, or allow more with --max-failed"
    )
    return Problem(model, what, remedy)

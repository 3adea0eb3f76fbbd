"""A worker: it opens a model, trains the threats that learn, and does chunks; it writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.cohen import Certification
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Failure
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.engine.faults import separately
from medrobust_bench.runs.engine.task import Done
from medrobust_bench.runs.inputs import scoreless, unsuitable
from medrobust_bench.runs.models import gives_scores, how_asked, open_model
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from medrobust_bench.records import ModelRecord, Outcome
    from medrobust_bench.records.witness import Witness
    from medrobust_bench.runs.engine.task import AnyThreat, ChunkTask, ModelTask
    from medrobust_bench.runs.models import Asked


class Worker:
    """Does the chunks of one model.

    Raises:
        InvalidInputError: the model cannot be opened, or a threat needs gradients or scores that it does not give.
    """

    def __init__(self, task: ModelTask) -> None:
        settings = task.settings
        self._task = task
        self._adapter = open_model(
            task.source,
            questions=task.probe,
            device=settings.device,
            dtype=settings.dtype,
            trust_remote_code=settings.trust_remote_code,
            replies=task.replies,
        )
        specs = [threat.spec for threat in task.threats]
        if self._adapter.differentiable:
            return
        problems = unsuitable([task.model], specs)
        if not gives_scores(self._adapter, task.probe):
            problems += scoreless(task.model, [spec for spec in specs if not spec.white_box])
        if problems:
            raise InvalidInputError(problems)

    @property
    def record(self) -> ModelRecord:
        """The model as it was opened."""
        return self._adapter.record

    @property
    def asked(self) -> Asked:
        """How questions are put to the model: what it is given for the first one."""
        return how_asked(self._adapter, self._task.probe[0])

    def trained(self) -> tuple[AnyThreat, ...]:
        """The threats, those that learn trained against the model."""
        task = self._task
        return tuple(
            threat.train(self._adapter, task.training[: threat.training_questions], seed=task.settings.seed)
            if isinstance(threat, TrainedThreat) and threat.spec.name in task.learning
            else threat
            for threat in task.threats
        )

    def work(self, task: ChunkTask, threats: Sequence[AnyThreat]) -> Iterator[Done]:
        """Do what is left of a chunk; it is bound once and meets every threat in turn.

        A question that the model cannot take, or that fails under a threat, costs itself and nothing else.

        Args:
            task: the chunk.
            threats: what `trained()` gave, here or at another worker.
        """
        new = task.left[CLEAN.name]
        old = sorted({row for rows in task.left.values() for row in rows} - set(new))
        bound, unbound = separately(lambda rows: self._bind(task, rows), old)
        answered, unanswered = separately(lambda rows: self._answer(task, rows), new)
        parts = [chunk for _rows, chunk in bound] + [chunk for _rows, (chunk, _outcomes) in answered]
        outcomes = [outcome for _rows, (_chunk, found) in answered for outcome in found]
        clean = {**task.clean, **{outcome.question: outcome for outcome in outcomes}}
        lost = dict(unbound) | dict(unanswered)
        if task.again:
            asked, _unasked = separately(lambda rows: self._ask_again(task, rows), task.again)
            repeated = [outcome for _rows, found in asked for outcome in found]
            clean |= {outcome.question: outcome for outcome in repeated}
            yield self._done(task, CLEAN.name, repeated, failed={})
        if new:
            yield self._done(task, CLEAN.name, outcomes, failed=dict(unanswered))
        for threat in threats:
            name = threat.spec.name
            left = set(task.left[name])
            failed = {row: lost[row] for row in left & lost.keys()}
            if isinstance(threat, Certification):
                if failed:
                    yield self._done(task, name, [], failed=failed)
                for row in sorted(left - lost.keys()):
                    yield self._meet(task, threat, parts, clean, {row}, {})
            elif left:
                yield self._meet(task, threat, parts, clean, left - lost.keys(), failed)

    def _bind(self, task: ChunkTask, rows: Sequence[int]) -> Chunk:
        settings = self._task.settings
        chunk = Chunk(
            self._adapter,
            self._task.model,
            [task.questions[row] for row in rows],
            seed=settings.seed,
            batch_size=settings.questions_per_chunk,
            float32_attack=settings.float32_attack,
        )
        chunk.recall(task.clean)
        return chunk

    def _answer(self, task: ChunkTask, rows: Sequence[int]) -> tuple[Chunk, list[Outcome]]:
        """Bind questions and answer them on their clean images, and some of them without."""
        chunk = self._bind(task, rows)
        others = {name: other for name, other in task.unseen.items() if other is not None}
        return chunk, chunk.without_images(chunk.clean(), frozenset(task.unseen), others)

    def _ask_again(self, task: ChunkTask, rows: Sequence[int]) -> list[Outcome]:
        """Ask questions without their image whose clean outcome is there."""
        others = {name: other for name, other in task.unseen.items() if other is not None}
        clean = [task.clean[task.questions[row].id] for row in rows]
        return self._bind(task, rows).without_images(clean, frozenset(task.unseen), others)

    def _meet(
        self,
        task: ChunkTask,
        threat: AnyThreat,
        parts: Sequence[Chunk],
        clean: Mapping[str, Outcome],
        asked: AbstractSet[int],
        failed: Mapping[int, Exception],
    ) -> Done:
        """Let the rows that are asked meet a threat, in the parts in which they are bound."""
        row_of = {question.id: row for row, question in enumerate(task.questions)}
        lost = dict(failed)
        outcomes: list[Outcome] = []
        witnesses: list[Witness] = []
        for part in parts:
            wanted = [place for place, question in enumerate(part.questions) if row_of[question.id] in asked]

            def work(
                places: Sequence[int], part: Chunk = part
            ) -> tuple[Sequence[Outcome], Sequence[Witness]]:
                chunk = part.select(places)
                before = [clean[question.id] for question in chunk.questions]
                if isinstance(threat, Certification):
                    return list(chunk.certify(threat, before, range(len(before)))), ()
                if isinstance(threat, AlteringThreat):
                    return chunk.alter(threat, before), ()
                return chunk.attack(threat, before)

            done, alone = separately(work, wanted)
            for _places, (found, images) in done:
                outcomes += found
                witnesses += images
            lost |= {row_of[part.questions[place].id]: error for place, error in alone}
        return self._done(task, threat.spec.name, outcomes, witnesses, failed=lost)

    def _done(
        self,
        task: ChunkTask,
        threat: str,
        outcomes: Sequence[Outcome],
        witnesses: Sequence[Witness] = (),
        *,
        failed: Mapping[int, Exception],
    ) -> Done:
        """What became of a chunk under a threat, in the chunk's order."""
        place = {question.id: row for row, question in enumerate(task.questions)}
        return Done(
            chunk=task.index,
            outcomes=tuple(sorted(outcomes, key=lambda one: place[one.question])),
            witnesses=tuple(sorted(witnesses, key=lambda one: place[one.question])),
            failures=tuple(
                Failure.of(
                    failed[row], model=self._task.model, threat=threat, question=task.questions[row].id
                )
                for row in sorted(failed)
            ),
        )

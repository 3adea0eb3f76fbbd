"""A worker: it opens a model, trains the threats that learn, and does chunks; it writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.cohen import Certification
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.engine.task import Done
from medrobust_bench.runs.models import open_model
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.records import ModelRecord
    from medrobust_bench.runs.engine.task import AnyThreat, ChunkTask, ModelTask


class Worker:
    """Does the chunks of one model.

    Raises:
        InvalidInputError: the model cannot be opened, or a threat needs gradients that it does not give.
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
        )
        white_box = [threat.spec.name for threat in task.threats if threat.spec.white_box]
        if white_box and not self._adapter.differentiable:
            what = f"gives no gradient in the pixels, which {', '.join(white_box)} need"
            remedy = "take gradient-free threats, such as noise"
            raise InvalidInputError([Problem(where=task.model, what=what, remedy=remedy)])

    @property
    def record(self) -> ModelRecord:
        """The model as it was opened."""
        return self._adapter.record

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

        Args:
            task: the chunk.
            threats: what `trained()` gave, here or at another worker.
        """
        chunk = Chunk(self._adapter, self._task.model, task.questions, seed=self._task.settings.seed)
        known = dict(task.clean)
        if task.left[CLEAN.name]:
            others = {name: other for name, other in task.unseen.items() if other is not None}
            answered = chunk.without_images(chunk.clean(), frozenset(task.unseen), others)
            known |= {outcome.question: outcome for outcome in answered}
            yield Done(task.index, tuple(answered))
        clean = [known[question.id] for question in task.questions]
        for threat in threats:
            rows = task.left[threat.spec.name]
            if isinstance(threat, Certification):
                for outcome in chunk.certify(threat, clean, rows):
                    yield Done(task.index, (outcome,))
            elif isinstance(threat, AlteringThreat):
                if rows:
                    yield Done(task.index, tuple(chunk.alter(threat, clean)))
            elif rows:
                outcomes, witnesses = chunk.attack(threat, clean)
                yield Done(task.index, tuple(outcomes), tuple(witnesses))

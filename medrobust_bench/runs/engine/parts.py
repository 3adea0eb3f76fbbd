"""A chunk on its way through workers that may die: what is left of it, and what becomes of it then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.records import Failure
from medrobust_bench.runs.engine.task import Done
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medrobust_bench.data.question import Question
    from medrobust_bench.runs.engine.task import ChunkTask, ModelTask

PATIENCE = 2
"""Workers that may die of a part before it is halved, or set aside where it is a single question."""

ERROR = "WorkerDiedError"


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk, or a part of one, that no worker has finished yet.

    Attributes:
        task: what is left.
        deaths: workers that died of it and finished nothing of it.
    """

    task: ChunkTask
    deaths: int = 0

    @property
    def rows(self) -> list[int]:
        """Rows of the questions of which anything is left."""
        return sorted({row for rows in self.task.left.values() for row in rows} | set(self.task.again))

    @property
    def size(self) -> int:
        """Questions left, once for every threat."""
        return sum(map(len, self.task.left.values())) + len(self.task.again)

    def without(self, done: Done) -> Part:
        """What is left when something has come back; who finished something did not die of all of it."""
        over = {one.question: one.threat for one in done.outcomes} | {
            one.question: one.threat for one in done.failures
        }
        row_of = {question.id: row for row, question in enumerate(self.task.questions)}
        gone = {(threat, row_of[question]) for question, threat in over.items()}
        left = {
            threat: tuple(row for row in rows if (threat, row) not in gone)
            for threat, rows in self.task.left.items()
        }
        again = tuple(row for row in self.task.again if (CLEAN.name, row) not in gone)
        clean = {
            **self.task.clean,
            **{one.question: one for one in done.outcomes if one.threat == CLEAN.name},
        }
        task = replace(self.task, left=left, clean=clean, again=again)
        return Part(task) if over else replace(self, task=task)

    def after_death(self, *, of_memory: bool) -> list[Part]:
        """What is to be tried next; nothing where a single question has killed often enough.

        Args:
            of_memory: the machine's memory ran out, so that halves have a better chance.
        """
        deaths, rows = self.deaths + 1, self.rows
        if deaths < PATIENCE and not (of_memory and len(rows) > 1):
            return [replace(self, deaths=deaths)]
        half = len(rows) // 2
        return [self._of(some) for some in (rows[:half], rows[half:])] if half else []

    def set_aside(self, model: str, why: str) -> list[Done]:
        """The failures of all that is left."""
        return [
            Done(
                self.task.index,
                (),
                failures=tuple(
                    Failure(
                        model=model,
                        threat=threat,
                        question=self.task.questions[row].id,
                        error=ERROR,
                        reason=f"{self.deaths + 1} workers died of it: {why}",
                    )
                    for row in rows
                ),
            )
            for threat, rows in self.task.left.items()
            if rows
        ]

    def _of(self, rows: Iterable[int]) -> Part:
        some = set(rows)
        left = {threat: tuple(row for row in kept if row in some) for threat, kept in self.task.left.items()}
        again = tuple(row for row in self.task.again if row in some)
        return Part(replace(self.task, left=left, again=again), deaths=PATIENCE - 1)


def portable_model(task: ModelTask) -> ModelTask:
    """The same, with every image in it."""
    return replace(task, training=tuple(map(portable, task.training)), probe=tuple(map(portable, task.probe)))


def portable_chunk(task: ChunkTask) -> ChunkTask:
    """The same, with every image in it."""
    unseen = {name: None if other is None else portable(other) for name, other in task.unseen.items()}
    return replace(task, questions=tuple(map(portable, task.questions)), unseen=unseen)


def portable(question: Question) -> Question:
    """The question with its canonical image as PNG bytes; as it is where that cannot be had, to fail when asked."""
    try:
        png = to_png(canonical(question.image))
    except (OSError, ValueError):
        return question
    return replace(question, image=ImageBytes(png, question.image.name))

"""The engine that works in this process, chunk by chunk in the plan's order: the default."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from medrobust_bench.models.memory import release_memory
from medrobust_bench.runs.engine.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.records import ModelRecord
    from medrobust_bench.runs.engine.engine import Workers
    from medrobust_bench.runs.engine.task import ChunkTask, Done, ModelTask
    from medrobust_bench.runs.models import Asked


class LocalEngine:
    """See `Engine`."""

    _has_opened: ClassVar[bool] = False
    """Whether this process has opened a model before: only then is there one whose memory can be released."""

    @contextmanager
    def opened(self, task: ModelTask) -> Iterator[Workers]:
        """See `Engine`; the model before is gone when this one is opened."""
        if LocalEngine._has_opened:
            release_memory()
        LocalEngine._has_opened = True
        workers = LocalWorkers(Worker(task))
        try:
            yield workers
        finally:
            workers.close()


class LocalWorkers:
    """One worker, this process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def close(self) -> None:
        """Let the model go; what it holds of the device is released when the next one is opened."""
        del self._worker

    @property
    def record(self) -> ModelRecord:
        """See `Workers`."""
        return self._worker.record

    @property
    def asked(self) -> Asked:
        """See `Workers`."""
        return self._worker.asked

    def work(self, chunks: Sequence[ChunkTask]) -> Iterator[Done]:
        """See `Workers`; in the order in which the chunks are given."""
        threats = self._worker.trained()
        for chunk in chunks:
            yield from self._worker.work(chunk, threats)

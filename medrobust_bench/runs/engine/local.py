"""The engine that works in this process, chunk by chunk in the plan's order: the default."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from medrobust_bench.models.cards import Card
from medrobust_bench.models.memory import release_memory
from medrobust_bench.models.registry import load_model
from medrobust_bench.runs.engine.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import ModelRecord
    from medrobust_bench.runs.engine.engine import Workers
    from medrobust_bench.runs.engine.task import ChunkTask, Done, ModelTask
    from medrobust_bench.runs.models import Asked
    from medrobust_bench.specs.settings import RunSettings


class LocalEngine:
    """See `Engine`.

    Args:
        keep: whether a model stays loaded until another one is asked for, for several runs of one model.
    """

    _has_opened: ClassVar[bool] = False
    """Whether this process has opened a model before: only then is there one whose memory can be released."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._kept: tuple[tuple[object, ...], Adapter] | None = None

    @contextmanager
    def opened(self, task: ModelTask) -> Iterator[Workers]:
        """See `Engine`; the model before is gone when this one is opened."""
        if self._keep and isinstance(task.source, Card):
            task = replace(task, source=self._loaded(task.source, task.settings))
        else:
            self._release()
        workers = LocalWorkers(Worker(task))
        try:
            yield workers
        finally:
            workers.close()

    def _loaded(self, card: Card, settings: RunSettings) -> Adapter:
        """The model of a card, kept from the last task or loaded in its place."""
        ways = (settings.device, settings.dtype, settings.trust_remote_code)
        if self._kept is None or self._kept[0] != (card, *ways):
            self._release()
            device, dtype, trusted = ways
            adapter = load_model(card, device=device, dtype=dtype, trust_remote_code=trusted)
            self._kept = ((card, *ways), adapter)
        return self._kept[1]

    def _release(self) -> None:
        self._kept = None
        if LocalEngine._has_opened:
            release_memory()
        LocalEngine._has_opened = True


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

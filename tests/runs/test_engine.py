"""An engine is given chunks and gives back outcomes; what it is does not show in the results."""

from __future__ import annotations

import gc
import random
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medrobust_bench.runs.engine.local import LocalEngine
from medrobust_bench.runs.evaluate import carry_out
from medrobust_bench.runs.request import Request
from medrobust_bench.specs.settings import RunSettings
from tests.test_benchmark import THREATS, result_files, world

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.runs.engine.task import ChunkTask, Done, ModelTask


def run(out: Path, *, engine: Any = None, adapters: Sequence[Adapter] = ()) -> None:
    adapter, dataset = world()
    models = {found.record.id: found for found in adapters or [adapter]}
    settings = RunSettings(models=tuple(models), threats=tuple(THREATS), data=dataset.name, batch_size=4)
    carry_out(Request(settings, adapters=models, dataset=dataset), out, engine=engine)


class Disorderly:
    """Does the chunks in another order, and hands in what it finished in a third one."""

    @contextmanager
    def opened(self, task: ModelTask) -> Iterator[Any]:
        with LocalEngine().opened(task) as workers:
            self.record, self.asked, self._workers = workers.record, workers.asked, workers
            yield self

    def work(self, chunks: Sequence[ChunkTask]) -> Iterator[Done]:
        done = list(self._workers.work(list(reversed(chunks))))
        random.Random(1).shuffle(done)
        yield from done


def test_results_do_not_depend_on_the_order_in_which_work_comes_back(tmp_path: Path) -> None:
    run(tmp_path / "here")
    run(tmp_path / "there", engine=Disorderly())
    assert result_files(tmp_path / "there") == result_files(tmp_path / "here")
    journals = [(tmp_path / name / "journal.jsonl").read_text() for name in ("here", "there")]
    assert journals[0].splitlines()[0] != journals[1].splitlines()[0], "the order was the same"


def test_a_model_is_gone_before_the_next_is_opened(tmp_path: Path) -> None:
    alive: list[weakref.ref[Any]] = []

    class Counting(LocalEngine):
        @contextmanager
        def opened(self, task: ModelTask) -> Iterator[Any]:
            assert [found for found in alive if found() is not None] == []
            with super().opened(task) as workers:
                alive.append(weakref.ref(workers._worker))  # type: ignore[attr-defined]
                yield workers

    first, _dataset = world()
    gc.disable()
    try:
        run(tmp_path / "run", engine=Counting(), adapters=[first, _Other()])
    finally:
        gc.enable()
    assert len(alive) == 2


class _Other:
    """Another name for the model of `world`."""

    def __init__(self) -> None:
        self._inner, _dataset = world()
        self.differentiable = True
        self.record = self._inner.record.model_copy(update={"id": "other"})

    def bind(self, questions: Any) -> Any:
        return self._inner.bind(questions)

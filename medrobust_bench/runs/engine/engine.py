"""What an engine promises the driver of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from medrobust_bench.records import ModelRecord
    from medrobust_bench.runs.engine.task import ChunkTask, Done, ModelTask
    from medrobust_bench.runs.models import Asked


class Workers(Protocol):
    """Workers that have opened one model."""

    @property
    def record(self) -> ModelRecord:
        """The model as they opened it."""
        ...

    @property
    def asked(self) -> Asked:
        """How questions are put to it."""
        ...

    def work(self, chunks: Sequence[ChunkTask]) -> Iterator[Done]:
        """Do chunks; what is done comes in any order, and what an outcome says depends neither on it nor on who did it.

        Closing the iterator stops the work.

        Raises:
            InvalidInputError: the model cannot do what a threat needs.
        """
        ...


class Engine(Protocol):
    """Where the work of a run is done."""

    def opened(self, task: ModelTask) -> AbstractContextManager[Workers]:
        """Inside it workers have the model open; it is let go at the end.

        Raises:
            InvalidInputError: the model cannot be opened.
        """
        ...

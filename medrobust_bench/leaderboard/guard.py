"""Work on files of strangers in a process of its own, which may neither last nor swell."""

from __future__ import annotations

import multiprocessing
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from medrobust_bench.problems import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from types import TracebackType

START = 120.0
"""Seconds that the process may take to start, which imports torch on a busy machine."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Work that had to be ended.

    Attributes:
        why: in words.
    """

    why: str


class Guard:
    """A process that does one piece of work after the other, and is begun anew after one that was ended or swelled.

    Args:
        seconds: that a piece of work may take.
        memory: bytes of address space that the process may add to what it has when it starts, until a piece of work
            calls `unlimited`; None: no limit. Only where the system can limit it.
        prepare: module that is imported before the clock starts.
    """

    def __init__(self, *, seconds: float, memory: int | None, prepare: str = __name__) -> None:
        self.seconds = seconds
        self.memory = memory
        self.prepare = prepare
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, function: Callable[..., Any], *arguments: object, **options: object) -> Any:
        """What a function of a module returns, or `Ended`.

        Raises:
            InvalidInputError: that the function raised.
        """
        connection = self._ready()
        if connection is None:
            return Ended("the process that checks it did not start")
        connection.send((function, arguments, options))
        try:
            if not connection.poll(self.seconds):
                self._end()
                return Ended(f"took longer than {self.seconds:g} seconds")
            done, value, swelled = connection.recv()
        except EOFError:
            code = self._end()
            return Ended(
                f"ended the process that checks it (exit code {code}): memory, depth, or a fault of ours"
            )
        if swelled:
            self._end()
        if not done:
            raise InvalidInputError(value)
        return value

    def _ready(self) -> Connection | None:
        """The connection to a process that has started."""
        if self._connection is not None:
            return self._connection
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.memory, self.prepare), daemon=True)
        self._process.start()
        theirs.close()
        with suppress(EOFError):
            if self._connection.poll(START):
                self._connection.recv()
                return self._connection
        self._end()
        return None

    def _end(self) -> int | None:
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.join(timeout=0.5)
        process.kill()
        process.join()
        return process.exitcode


def unlimited() -> None:
    """Let the piece of work that calls it take the memory that it needs: what is a stranger's has been looked at."""
    _limit(None)


def _limit(memory: int | None) -> None:
    """Allow so many bytes beside those that are in use now, or as many as there are."""
    if sys.platform == "win32":
        return
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    try:  # the peak that `getrusage` knows is inherited from the process that started this one
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with suppress(ValueError, OSError):  # less was allowed from outside
        resource.setrlimit(resource.RLIMIT_DATA, (hard if memory is None else used + memory, hard))


def _soft_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def _serve(connection: Connection, memory: int | None, prepare: str) -> None:
    """Work until nobody asks any more; what is not bad input ends the process, and says so on its error output."""
    import_module(prepare)
    if memory is not None:
        _limit(memory)
    limited = _soft_limit()
    connection.send("ready")
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            function, arguments, options = connection.recv()
            try:
                done, value = True, function(*arguments, **options)
            except InvalidInputError as error:
                done, value = False, error.problems
            connection.send((done, value, _soft_limit() != limited))

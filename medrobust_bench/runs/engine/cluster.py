"""The engine whose workers are actors of a Ray cluster: on this machine, or on any number of others.

Ray moves Python objects between processes as pickles: whoever can reach its ports can run code there, so that a cluster
belongs on a network that is trusted.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch

from medrobust_bench.models.cards import ENDPOINT, Card
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.runs.engine.local import LocalEngine
from medrobust_bench.runs.engine.parts import Part, portable_chunk, portable_model
from medrobust_bench.runs.engine.worker import Worker
from medrobust_bench.runs.plan import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.records import Environment, ModelRecord
    from medrobust_bench.runs.engine.engine import Workers
    from medrobust_bench.runs.engine.task import AnyThreat, ChunkTask, Done, ModelTask
    from medrobust_bench.runs.models import Asked

_PATIENCE = 10.0
"""Seconds to wait for a first sign of life of a cluster."""

_TICK = 1.0
"""Seconds between two looks at workers that say nothing."""

_SAME = ("medrobust_bench", "python", "torch", "transformers", "adversarial_robustness_toolbox")


class Opened(NamedTuple):
    """What a worker says when it has opened the model."""

    record: ModelRecord
    asked: Asked
    environment: Environment
    where: str


class RayEngine:
    """See `Engine`; a context manager, which leaves a cluster that it started or joined.

    Args:
        workers: how many; unset, as many as the cluster has room for, on GPUs where it has any.
        address: of a running cluster that this machine belongs to or reaches ("auto", HOST:PORT); unset, one is started
            on this machine.
        cpus_per_worker: CPUs that Ray sets apart for a worker, and its number of threads.
        gpus_per_worker: GPUs of a worker, fractions allowed; unset, one, or an equal share of fewer.
        timeout: seconds without news after which a worker counts as stuck and is replaced; unset, never.
        logs: folder for one log file per worker.

    Raises:
        InvalidInputError: Ray is not installed, or no cluster is at the address.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        address: str | None = None,
        cpus_per_worker: float = 1,
        gpus_per_worker: float | None = None,
        timeout: float | None = None,
        logs: Path | None = None,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            remedy = "pip install 'medrobust-bench[ray]'"
            raise InvalidInputError([Problem("--workers", "needs Ray", remedy)]) from error
        if address is not None and (unreachable := _unreachable(address)) is not None:
            raise InvalidInputError([unreachable])
        self._ray = ray
        self._workers, self._cpus, self._gpus = workers, cpus_per_worker, gpus_per_worker
        self.timeout, self.logs = timeout, logs
        self._joined = not ray.is_initialized()
        self._started = self._joined and not address
        if self._joined:
            here = {"num_cpus": max(1, ceil(workers * cpus_per_worker))} if workers and not address else {}
            try:
                ray.init(
                    address=address or "local",
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level="error",  # its notices are about settings of its own
                    **here,
                )
            except Exception as error:
                # A node that does not come up in time is a bare Exception of Ray's.
                if not (
                    isinstance(error, (ConnectionError, ValueError, RuntimeError, TimeoutError))
                    or type(error) is Exception
                ):
                    raise
                ray.shutdown()
                raise InvalidInputError([_not_started(address, error)]) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._joined:
            self._ray.shutdown()

    @contextmanager
    def opened(self, task: ModelTask) -> Iterator[Workers]:
        """See `Engine`.

        Raises:
            InvalidInputError: the model cannot be opened, or a worker runs other software than this process.
        """
        if isinstance(task.source, Card) and task.source.adapter == ENDPOINT:
            with LocalEngine().opened(
                task
            ) as here:  # the work is the server's, who is asked many things at a time
                yield here
            return
        if (problem := device_problem(task.settings.device)) is not None:
            raise InvalidInputError([problem])
        there = self._ray.cluster_resources()
        if task.settings.device == "cpu":
            there = {**there, "GPU": 0.0}
        share = fair_share(there, workers=self._workers, cpus=self._cpus, gpus=self._gpus)
        if self._started and share.gpus > there.get("GPU", 0.0):  # a cluster of others may still grow
            what = f"a worker asks for {share.gpus:g} GPUs, and this machine has {there.get('GPU', 0.0):g}"
            raise InvalidInputError([Problem("--gpus-per-worker", what, "ask for fewer, or leave it out")])
        crew = RayWorkers(self, self._ray, task, share)
        try:
            crew.wait_for_the_first()
            yield crew
        finally:
            crew.close()


def device_problem(device: str) -> Problem | None:
    """What is wrong with a device for workers, who see no GPU but their own, numbered from 0."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or number in ("", "0"):
        return None
    what = "is one GPU of this machine, and each worker sees its own alone, as cuda:0"
    return Problem(f"--device {device}", what, "leave --device out, or --workers")


class Share(NamedTuple):
    """How many workers there are, and what each of them gets.

    Attributes:
        workers: their number.
        cpus: of each, set apart by Ray.
        gpus: of each; a fraction where several share one.
    """

    workers: int
    cpus: float
    gpus: float


def fair_share(there: Mapping[str, float], *, workers: int | None, cpus: float, gpus: float | None) -> Share:
    """What each worker gets of a cluster.

    Args:
        there: its resources, by Ray's names.
        workers: asked for; None for as many as have room, one for each GPU where there are any.
        cpus: of each worker.
        gpus: of each worker; None for one, or for a part of one where there are fewer GPUs than workers: a worker's
            part is of one GPU, so that twelve workers on eight GPUs get a half each.
    """
    cards = there.get("GPU", 0.0)
    if workers is None:
        workers = int(there.get("CPU", 1.0) // max(cpus, 1e-6))
        if cards and gpus != 0:
            workers = min(workers, int(cards / (gpus or 1.0)))
        workers = max(1, workers)
    if gpus is None:
        gpus = 1.0 / max(1, ceil(workers / cards)) if cards else 0.0
    return Share(workers, cpus, int(1e4 * gpus) / 1e4)  # Ray counts in ten-thousandths


@dataclass
class Slot:
    """A place for a worker, whoever fills it.

    Attributes:
        name: of the worker and its log.
        actor: Ray's handle of the process that fills it now.
        waits_for: what it is expected to say next: a reference while it opens the model, a stream while it works; None
            while it is idle.
        part: what it works on.
        heard: when it last said something, by `time.monotonic`.
    """

    name: str
    actor: Any
    waits_for: Any = None
    part: Part | None = None
    heard: float = field(default_factory=time.monotonic)


def _unreachable(address: str) -> Problem | None:
    """What is wrong with an address, as far as a moment's look tells; Ray itself tries for minutes."""
    where = f"--ray {address}"
    if "://" in address:
        what = "is an address of Ray Client, which passes nothing on while workers work"
        remedy = "start the command on a machine of the cluster: --ray auto, or `ray job submit`"
        return Problem(where, what, remedy)
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return None  # "auto", or what Ray refuses by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        remedy = "start a cluster with `ray start --head`, and give the address that it says"
        return Problem(where, f"nothing answers there: {error}", remedy)
    return None


def _not_started(address: str | None, error: Exception) -> Problem:
    why = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if address:
        remedy = "start one with `ray start --head`, and give its address"
        return Problem(f"--ray {address}", f"no cluster can be joined: {why}", remedy)
    remedy = "try again when this machine has less to do, or leave --workers out"
    return Problem("--workers", f"Ray does not start on this machine: {why}", remedy)


class RayWorkers:
    """See `Workers`."""

    def __init__(self, engine: RayEngine, ray: Any, task: ModelTask, share: Share) -> None:
        self._engine, self._ray, self._task, self._share = engine, ray, task, share
        resources = {"num_cpus": share.cpus, "num_gpus": share.gpus}
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, **resources)(Actor)
        self._sent = ray.put(portable_model(task))
        self._threads = max(1, int(share.cpus))
        self._threats: Any = None
        self._opened: Opened | None = None
        self._deaths = 0
        self._slots = [self._filled(Slot(f"worker-{n + 1}", None)) for n in range(share.workers)]

    @property
    def record(self) -> ModelRecord:
        """See `Workers`."""
        return self._first.record

    @property
    def asked(self) -> Asked:
        """See `Workers`."""
        return self._first.asked

    @property
    def _first(self) -> Opened:
        if self._opened is None:
            raise RuntimeError("no worker has opened the model yet")
        return self._opened

    def wait_for_the_first(self) -> None:
        """Until a worker has opened the model, and trained the threats that learn; the others follow."""
        while self._opened is None:
            self._listen()
        trained: tuple[AnyThreat, ...] = self._task.threats
        while self._task.learning and self._threats is None:
            idle = [slot for slot in self._slots if slot.waits_for is None]
            if not idle:
                self._listen()
                continue
            try:
                trained = self._ray.get(idle[0].actor.trained.remote())
                break
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                self._died(idle[0], error)
        self._threats = self._ray.put(trained)

    def close(self) -> None:
        """Let the workers go, and with them the model."""
        for slot in self._slots:
            self._ray.kill(slot.actor)

    def work(self, chunks: Sequence[ChunkTask]) -> Iterator[Done]:
        """See `Workers`; the longest chunks go first, so that nobody works alone at the end."""
        self._queue = deque(sorted(map(Part, chunks), key=lambda part: -part.size))
        self._aside: list[Done] = []
        while self._queue or any(slot.part is not None for slot in self._slots):
            for slot in self._slots:
                if slot.waits_for is None and self._queue:
                    self._give(slot, self._queue.popleft())
            yield from self._listen()
            yield from self._aside
            self._aside.clear()

    def _filled(self, slot: Slot) -> Slot:
        """A slot with a new worker, who opens the model."""
        slot.actor = self._actor.remote(self._sent, self._threads)
        slot.waits_for, slot.part, slot.heard = slot.actor.load.remote(), None, time.monotonic()
        return slot

    def _give(self, slot: Slot, part: Part) -> None:
        slot.part, slot.heard = part, time.monotonic()
        work = slot.actor.work.options(num_returns="streaming")
        slot.waits_for = work.remote(portable_chunk(part.task), self._threats)
        self._log(slot, f"chunk {part.task.index}: {len(part.rows)} questions")

    def _listen(self) -> list[Done]:
        """What workers say within a moment; the dead and the stuck are replaced."""
        waiting = {slot.waits_for: slot for slot in self._slots if slot.waits_for is not None}
        spoken, _silent = self._ray.wait(list(waiting), num_returns=1, timeout=_TICK)
        found = []
        for said in spoken:
            slot = waiting[said]
            slot.heard = time.monotonic()
            try:
                done = self._hear(slot)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                self._died(slot, error)
            else:
                found += [] if done is None else [done]
        limit = self._engine.timeout
        for slot in self._slots:
            if limit is not None and slot.part is not None and time.monotonic() - slot.heard > limit:
                self._ray.kill(slot.actor)
                self._died(slot, TimeoutError(f"said nothing for {limit:g} s"))
        return found

    def _hear(self, slot: Slot) -> Done | None:
        """What one worker says: that it has opened the model, that it is idle, or what it has done."""
        if slot.part is None:
            opened: Opened = self._ray.get(slot.waits_for)
            self._check(opened)
            slot.waits_for = None
            self._log(slot, f"opened {self._task.model} on {opened.where}")
            return None
        reference = next(slot.waits_for, None)
        if reference is None:
            slot.waits_for = slot.part = None
            return None
        done: Done = self._ray.get(reference)
        slot.part = slot.part.without(done)
        self._deaths = 0
        threats = {one.threat for one in done.outcomes} | {one.threat for one in done.failures}
        told = f"{len(done.outcomes)} outcomes, {len(done.failures)} failures"
        self._log(slot, f"chunk {done.chunk} under {', '.join(threats)}: {told}")
        return done

    def _died(self, slot: Slot, error: Exception) -> None:
        """Fill a slot anew; what its worker was at is tried again, in halves, or set aside.

        Raises:
            InvalidInputError: workers die one after the other and finish nothing.
        """
        why = str(error).strip().split("\n")[0][:200] or type(error).__name__
        self._log(slot, f"died: {type(error).__name__}: {why}")
        part = slot.part
        self._ray.kill(slot.actor)
        self._filled(slot)
        if part is not None and part.size:
            again = part.after_death(of_memory="OutOfMemory" in type(error).__name__ or "memory" in why)
            self._queue.extendleft(reversed(again))
            self._aside += [] if again else part.set_aside(self._task.model, why)
        self._deaths += 1
        if self._deaths > 10 + 2 * self._share.workers:
            what = f"{self._deaths} workers died one after the other and finished nothing, the last: {why}"
            remedy = (
                f"see {self._engine.logs or 'the logs of Ray'}; then go on with --resume, with fewer workers"
            )
            raise InvalidInputError([Problem(self._task.model, what, remedy)])

    def _check(self, opened: Opened) -> None:
        """Hold a worker against this process and the workers before it.

        Raises:
            InvalidInputError: it has other software, another kind of device, or another model.
        """
        here = environment(self._task.settings.device)
        differs = [name for name in _SAME if getattr(here, name) != getattr(opened.environment, name)]
        if differs:
            told = ", ".join(f"{name} {getattr(opened.environment, name)}" for name in differs)
            what = f"has {told}, which differs from this machine's"
            raise InvalidInputError([Problem(opened.where, what, "install the same on every machine")])
        if opened.environment.device != here.device:
            what = f"computes on {opened.environment.device}, and the results would say {here.device}, as it is here"
            remedy = f"say which is meant: --device {opened.environment.device}, or --device {here.device}"
            raise InvalidInputError([Problem(opened.where, what, remedy)])
        first = self._opened or opened
        if first.record != opened.record:
            what = f"opened another {self._task.model} than {first.where}"
            raise InvalidInputError([Problem(opened.where, what, "give every machine the same checkpoint")])
        self._opened = first

    def _log(self, slot: Slot, text: str) -> None:
        if self._engine.logs is not None:
            self._engine.logs.mkdir(parents=True, exist_ok=True)
            with (self._engine.logs / f"{slot.name}.log").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


class Actor:
    """A worker as Ray runs it: a process of its own, which opens the model once.

    Args:
        task: what all chunks have in common.
        threads: to compute with.
    """

    def __init__(self, task: ModelTask, threads: int) -> None:
        torch.set_num_threads(threads)  # the driver chose its own number, which is in the environment
        self._task = task
        self._worker: Worker | None = None

    def load(self) -> Opened:
        """Open the model."""
        import os

        self._worker = Worker(self._task)
        where = f"{socket.gethostname()}, process {os.getpid()}"
        here = environment(self._task.settings.device)
        return Opened(self._worker.record, self._worker.asked, here, where)

    def trained(self) -> tuple[AnyThreat, ...]:
        """See `Worker`."""
        return self._loaded().trained()

    def work(self, task: ChunkTask, threats: Sequence[AnyThreat]) -> Iterator[Done]:
        """See `Worker`."""
        yield from self._loaded().work(task, threats)

    def _loaded(self) -> Worker:
        if self._worker is None:
            raise RuntimeError("asked to work before the model is open")
        return self._worker

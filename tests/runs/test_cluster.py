"""Workers of a Ray cluster give the results of one process, whatever dies on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import medrobust_bench
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.journal import Journal
from medrobust_bench.runs.engine.cluster import RayWorkers, device_problem, fair_share
from medrobust_bench.runs.engine.parts import Part
from medrobust_bench.runs.engine.task import ChunkTask, Done
from medrobust_bench.runs.plan import environment
from tests.linear import LinearAdapter, LinearQuestions, make_questions
from tests.test_benchmark import result_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench import RayEngine, Run
    from medrobust_bench.data.question import Question

THREATS = ["pgd-linf:eps=2/255,step_size=1/255,steps=3", "certified-l2:n0=5,n=10,sigma=0.01"]
BAD = "linear-0-5"


class Mortal(LinearAdapter):
    """A toy whose process comes to harm when a question is bound.

    Args:
        harm: "dies" and "hangs" as long as `mark` is not there, and leaves it; "always dies"; "none".
        mark: a file.
    """

    def __init__(self, harm: str, mark: str) -> None:
        super().__init__(seed=1, shape=(6, 6), scale=0.3)
        self.harm, self.mark = harm, mark

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        if any(question.id == BAD for question in questions):
            if self.harm == "always dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.harm != "none" and not Path(self.mark).exists():
                Path(self.mark).touch()
                if self.harm == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(3600)
        return super().bind(questions)


def data(n: int = 16) -> Dataset:
    questions = tuple(make_questions(LinearAdapter(seed=1, shape=(6, 6), scale=0.3), n))
    # The bad one is not among those that the model is tried on, which are of the first chunks.
    return Dataset(name="linear", split="test", questions=(*questions[8:], *questions[:8]), synthetic=True)


def evaluate(out: Path, harm: str = "none", **options: Any) -> Run:
    arguments: dict[str, Any] = {"threats": THREATS, "data": data(), "batch_size": 4}
    adapter = Mortal(harm, str(out.parent / f"{harm}.mark"))
    return medrobust_bench.evaluate(model=adapter, out=out, **{**arguments, **options})


def same(out: Path, other: Path) -> bool:
    """Result files equal but for the seconds, witnesses byte for byte."""
    images = [
        {path.name: path.read_bytes() for path in (folder / "witnesses").iterdir()} for folder in (out, other)
    ]
    return result_files(out) == result_files(other) and images[0] == images[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as one process makes it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    evaluate(out)
    return out


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngine]:
    """Two workers on this machine."""
    pytest.importorskip("ray", reason="needs the extra [ray]")
    with medrobust_bench.RayEngine(workers=2, logs=tmp_path_factory.mktemp("logs")) as engine:
        yield engine


def test_two_workers_write_what_one_process_writes(crew: RayEngine, whole: Path, tmp_path: Path) -> None:
    run = evaluate(tmp_path / "run", engine=crew)
    assert same(tmp_path / "run", whole)
    assert run.failures == ()
    assert crew.logs is not None
    logs = {path.name: path.read_text() for path in crew.logs.iterdir()}
    assert set(logs) <= {"worker-1.log", "worker-2.log"}
    assert any("opened linear-toy on" in text for text in logs.values())


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(crew: RayEngine, whole: Path, tmp_path: Path) -> None:
    run = evaluate(tmp_path / "run", "dies", engine=crew)
    assert (tmp_path / "dies.mark").exists()
    assert run.failures == ()
    assert same(tmp_path / "run", whole)
    lines = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 16 * 3, "lost or done twice"


@pytest.mark.slow
def test_a_stuck_worker_is_replaced(
    crew: RayEngine, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "timeout", 5.0)
    evaluate(tmp_path / "run", "hangs", engine=crew)
    assert same(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_question_that_kills_its_workers_is_set_aside(crew: RayEngine, whole: Path, tmp_path: Path) -> None:
    run = evaluate(tmp_path / "run", "always dies", engine=crew)
    assert {(failure.question, failure.error) for failure in run.failures} == {(BAD, "WorkerDiedError")}
    assert len(run.failures) == 3
    expected = medrobust_bench.load_run(whole).outcomes
    for key, outcomes in run.outcomes.items():
        rest = [one for one in expected[key] if one.question != BAD]
        assert [replace_seconds(one) for one in outcomes] == [replace_seconds(one) for one in rest]
    evaluate(tmp_path / "run", resume=True)
    assert same(tmp_path / "run", whole)


def replace_seconds(outcome: Any) -> Any:
    return outcome.model_copy(update={"seconds": 0.0})


class Refused(LinearAdapter):
    """A model that cannot be asked as it is."""

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        raise InvalidInputError([Problem("its card", "names no template", "name one")])


@pytest.mark.slow
def test_faults_of_the_input_reach_the_user_as_they_are(crew: RayEngine, tmp_path: Path) -> None:
    adapter = Refused(seed=1, shape=(6, 6))
    with pytest.raises(InvalidInputError) as raised:
        medrobust_bench.evaluate(
            model=adapter, threats=THREATS, data=data(), out=tmp_path / "run", engine=crew
        )
    assert raised.value.problems == (Problem("its card", "names no template", "name one"),)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(
    crew: RayEngine, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, written = Journal.append, []

    def full(journal: Journal, lines: Any) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(journal.path))
        written.append(lines)
        append(journal, lines)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(tmp_path / "run", engine=crew)
    monkeypatch.undo()
    evaluate(tmp_path / "run", engine=crew, resume=True)
    assert same(tmp_path / "run", whole)


@pytest.mark.slow
def test_the_driver_killed_the_run_goes_on_with_another_number(whole: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.runs import test_cluster as t; import medrobust_bench\n"
        "from medrobust_bench.records.folder import RunFolder; write = RunFolder.record_outcomes\n"
        "def record(*a, **k): write(*a, **k); print('chunk', flush=True); time.sleep(0.3)\n"
        "RunFolder.record_outcomes = record\n"
        "with medrobust_bench.RayEngine(workers=2) as engine: t.evaluate(Path(sys.argv[1]), engine=engine)"
    )
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _chunk in range(3):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (out / "results").exists()
    evaluate(out, resume=True)
    assert same(out, whole)


def part(n: int = 4) -> Part:
    questions = tuple(make_questions(LinearAdapter(shape=(4, 4)), n))
    return Part(ChunkTask(3, questions, {"clean": (), "a": tuple(range(n)), "b": (n - 1,)}, {}, {}))


def test_a_part_is_tried_twice_then_halved_then_set_aside() -> None:
    (again,) = part().after_death(of_memory=False)
    assert (again.deaths, again.rows) == (1, [0, 1, 2, 3])
    first, second = again.after_death(of_memory=False)
    assert (first.rows, second.rows) == ([0, 1], [2, 3])
    _third, last = second.after_death(of_memory=False)
    assert last.rows == [3]
    assert last.after_death(of_memory=False) == []
    aside = last.set_aside("m", "killed")
    assert [(done.chunk, done.failures[0].threat, len(done.failures)) for done in aside] == [
        (3, "a", 1),
        (3, "b", 1),
    ]
    assert aside[0].failures[0].question == last.task.questions[3].id


def test_where_memory_ran_out_halves_are_tried_at_once() -> None:
    assert [half.rows for half in part().after_death(of_memory=True)] == [[0, 1], [2, 3]]
    assert len(part(1).after_death(of_memory=True)) == 1


def test_what_came_back_is_not_asked_again() -> None:
    from medrobust_bench.records import Failure

    whole = part()
    failure = Failure(model="m", threat="a", question=whole.task.questions[1].id, error="E", reason="")
    rest = whole.without(Done(3, (), failures=(failure,)))
    assert rest.task.left == {"clean": (), "a": (0, 2, 3), "b": (3,)}
    assert rest.size == 4
    (tried,) = whole.after_death(of_memory=False)
    assert tried.without(Done(3, ())).deaths == 1
    assert tried.without(Done(3, (), failures=(failure,))).deaths == 0, (
        "its worker left after some of it was done"
    )


def test_workers_need_no_file_of_the_driver(tmp_path: Path) -> None:
    import numpy as np

    from medrobust_bench.data.image import ImageFile, canonical, to_png
    from medrobust_bench.runs.engine.parts import portable

    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    (tmp_path / "image.png").write_bytes(to_png(image))
    (question,) = make_questions(LinearAdapter(shape=(4, 4)), 1)
    question = replace(question, image=ImageFile(tmp_path / "image.png"))
    expected = canonical(question.image)
    sent = portable(question)
    (tmp_path / "image.png").unlink()
    assert np.array_equal(canonical(sent.image), expected)
    assert portable(question) is question, "a missing image fails where it is asked"


@pytest.mark.parametrize(
    ("raised", "address", "where", "what"),
    [
        (
            Exception("The current node timed out during startup."),
            None,
            "--workers",
            "does not start on this machine",
        ),
        (
            ConnectionError("nobody there"),
            "auto",
            "--ray auto",
            "no cluster can be joined: nobody",
        ),
        (TimeoutError(), None, "--workers", "does not start on this machine: TimeoutError"),
    ],
)
def test_ray_that_does_not_start_is_a_problem_with_a_remedy(
    raised: Exception, address: str | None, where: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", raising(raised))
    with pytest.raises(InvalidInputError) as caught:
        medrobust_bench.RayEngine(workers=2, address=address)
    (problem,) = caught.value.problems
    assert problem.where == where
    assert what in problem.what


@pytest.mark.parametrize("address", ["127.0.0.1:9", "no-such-host.invalid:6379", "ray://127.0.0.1:10001"])
def test_an_address_at_which_nobody_can_be_reached_is_refused_at_once(address: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        medrobust_bench.RayEngine(workers=2, address=address)
    (problem,) = caught.value.problems
    assert problem.where == f"--ray {address}"
    assert "nothing answers" in problem.what or "Ray Client" in problem.what


@pytest.mark.parametrize(
    ("cards", "workers", "gpus", "expected"),
    [
        (0, None, None, (64, 0.0)),
        (8, None, None, (8, 1.0)),  # one for each card, not for each of 64 processors
        (8, None, 2.0, (4, 2.0)),
        (8, 4, None, (4, 1.0)),
        (8, 12, None, (12, 0.5)),  # not two thirds: of those only one has room on a card
        (1, 3, None, (3, 0.3333)),
        (8, None, 0.0, (64, 0.0)),
        (8, 16, 0.25, (16, 0.25)),
    ],
)
def test_every_worker_has_room_on_one_card(
    cards: int, workers: int | None, gpus: float | None, expected: tuple[int, float]
) -> None:
    share = fair_share({"CPU": 64.0, "GPU": float(cards)}, workers=workers, cpus=1, gpus=gpus)
    assert (share.workers, share.gpus) == expected


def test_workers_whose_device_is_not_the_one_that_results_name_are_refused() -> None:
    """A driver without a GPU, as on the head of a cluster, would call the work of GPUs the CPU's."""
    workers = object.__new__(RayWorkers)
    task: Any = SimpleNamespace(settings=SimpleNamespace(device="auto"), model="m")
    workers._task, workers._opened = task, None
    here = environment("auto")
    opened: Any = SimpleNamespace(
        environment=here.model_copy(update={"device": "another"}), record=None, where="gpu-node, process 7"
    )
    with pytest.raises(InvalidInputError, match="computes on another") as caught:
        workers._check(opened)
    assert "--device another" in caught.value.problems[0].remedy
    task.settings.device = "another"  # what the user says holds here too
    workers._check(opened)


def test_a_worker_has_no_second_gpu_by_number() -> None:
    assert [device_problem(device) for device in ("auto", "cpu", "cuda", "cuda:0", "all")] == [None] * 5
    assert "cuda:0" in str(device_problem("cuda:1"))


def test_a_fault_of_the_program_at_the_start_of_ray_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", raising(KeyError("x")))
    with pytest.raises(KeyError):
        medrobust_bench.RayEngine(workers=2)


def raising(error: Exception) -> Any:
    def init(**_settings: object) -> None:
        raise error

    return init

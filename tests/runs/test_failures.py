"""One bad question costs one question, by name, and is never counted as right or wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

import medrobust_bench
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.models.question_error import QuestionError
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Result
from medrobust_bench.runs.engine.faults import separately
from tests.linear import LinearAdapter, LinearQuestions, make_questions
from tests.test_benchmark import THREATS, result_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench import Run
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Answer
    from medrobust_bench.records import ModelRecord

PGD = "pgd-linf:eps=2/255,steps=3,step_size=1/255"
BAD = "linear-0-5"


class NonFiniteLogitsError(QuestionError):
    """A fault with a name of its own."""


class BrokenQuestions(LinearQuestions):
    """Bound questions of a model that cannot give `BAD` a gradient."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.requires_grad and any(question.id == BAD for question in self.batch.questions):
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return super().scores(pixels)


class MuteQuestions(LinearQuestions):
    """Bound questions of a model whose logits for `BAD` are not finite."""

    def answer(self, images: Any, *, exact: bool = True) -> list[Answer]:
        if any(question.id == BAD for question in self.batch.questions):
            raise NonFiniteLogitsError("logits are not finite")
        return super().answer(images, exact=exact)


class Faulty(LinearAdapter):
    """A toy that fails on one question: when it is bound, answered, or attacked.

    Args:
        stage: "bind", "answer", "attack"; or "nowhere".
        bad: the questions that cannot be bound.
    """

    def __init__(self, stage: str, bad: Sequence[str] = (BAD,)) -> None:
        super().__init__(seed=1, shape=(6, 6), scale=0.3)
        self.stage, self.bad = stage, frozenset(bad)

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        if self.stage == "bind" and any(question.id in self.bad for question in questions):
            raise ValueError("absolute aspect ratio must be\nsmaller than 200, got 384.0")
        bound = super().bind(questions)
        kinds = {"answer": MuteQuestions, "attack": BrokenQuestions}
        return kinds.get(self.stage, LinearQuestions).of(bound)


def data(n: int = 12) -> Dataset:
    questions = tuple(make_questions(LinearAdapter(seed=1, shape=(6, 6), scale=0.3), n))
    return Dataset(name="linear", split="test", questions=questions, synthetic=True)


def evaluate(out: Path, adapter: LinearAdapter, **options: Any) -> Run:
    arguments: dict[str, Any] = {"threats": THREATS, "data": data(), "batch_size": 8}
    return medrobust_bench.evaluate(model=adapter, out=out, **{**arguments, **options})


@pytest.mark.parametrize(
    ("stage", "kind", "under"),
    [("bind", "ValueError", 4), ("answer", "NonFiniteLogitsError", 4), ("attack", "OutOfMemoryError", 1)],
)
def test_a_bad_question_costs_itself_and_nothing_else(
    tmp_path: Path, stage: str, kind: str, under: int
) -> None:
    run = evaluate(tmp_path / "run", Faulty(stage))
    whole = evaluate(tmp_path / "whole", Faulty("nowhere"))
    assert {failure.question for failure in run.failures} == {BAD}
    assert {failure.error for failure in run.failures} == {kind}
    assert len(run.failures) == under
    assert "\n" not in run.failures[0].reason
    for key, outcomes in run.outcomes.items():
        left_out = {BAD} if key[1] in {*(failure.threat for failure in run.failures), "worst-case"} else set()
        expected = [one for one in whole.outcomes[key] if one.question not in left_out]
        assert [_timeless(one) for one in outcomes] == [_timeless(one) for one in expected]
    result = run[PGD]
    assert result.failed == {kind: 1}
    assert result.metrics.clean_accuracy.n == 11
    assert result.data.n == 12
    assert run["worst-case"].failed == {kind: 1}
    assert run["noise:draws=2"].failed == ({kind: 1} if under > 1 else {})
    assert f"1 of 12 questions ({kind} 1)" in run.table()
    assert f"1 of 12 questions ({kind} 1)" in run.report(examples=0)[0].read_text()


def _timeless(outcome: Any) -> Any:
    return outcome.model_copy(update={"seconds": 0.0})


def test_resume_tries_again_and_only_that(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(out, Faulty("attack"))
    assert len(evaluate(out, Faulty("attack"), resume=True).failures) == 1, "it fails again"
    before = (out / "journal.jsonl").read_text().splitlines()
    run = evaluate(out, Faulty("nowhere"), resume=True)
    assert run.failures == ()
    after = (out / "journal.jsonl").read_text().splitlines()
    kept = [line for line in before if '"error"' not in line]
    assert after[: len(kept)] == kept
    assert len(kept) == 12 * 4 - 1
    done = [json.loads(line) for line in after[len(kept) :] if '"error"' not in line]
    assert [line["question"] for line in done] == [BAD]
    evaluate(tmp_path / "whole", Faulty("nowhere"))
    assert result_files(out) == result_files(tmp_path / "whole")
    for path in (tmp_path / "whole" / "witnesses").iterdir():
        assert path.read_bytes() == (out / "witnesses" / path.name).read_bytes()


def test_killed_while_it_tries_again_nothing_is_done_twice(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(out, Faulty("attack"))
    seen: list[str] = []

    class Watched(Faulty):
        def bind(self, questions: Sequence[Question]) -> LinearQuestions:
            seen.extend(question.id for question in questions)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(out, Watched("nowhere"), resume=True)
    lines = (out / "journal.jsonl").read_text().splitlines()
    assert sum('"error"' not in line for line in lines) == 12 * 4 - 1
    assert evaluate(out, Faulty("nowhere"), resume=True).failures == ()


def test_skipped_questions_are_in_no_result_and_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert evaluate(out, Faulty("attack")).failures
    run = evaluate(out, Faulty("attack"), resume=True, skip_failed=True)
    assert run.failures == ()
    for result in run.results:
        assert result.failed == {}
        assert result.data.n == result.metrics.clean_accuracy.n == 11
        assert [row.where for row in result.data.skipped] == [BAD]
        assert "OutOfMemoryError" in result.data.skipped[0].reason
    fewer = replace(data(), questions=tuple(one for one in data().questions if one.id != BAD))
    assert run["clean"].data.digest == fewer.digest()
    assert medrobust_bench.load_run(out).outcomes == run.outcomes
    assert "1 row skipped" in run.table()
    back = evaluate(out, Faulty("nowhere"), resume=True)
    assert (back.failures, back["clean"].data.n, back["clean"].data.skipped) == ((), 12, ())


def test_more_than_the_stated_share_stops_the_run(tmp_path: Path) -> None:
    bad = [f"linear-0-{index}" for index in range(15)]
    options: dict[str, Any] = {"threats": ["noise:draws=2"], "data": data(40)}
    with pytest.raises(InvalidInputError, match=r"1[0-5] of 40 questions failed, most with ValueError"):
        evaluate(tmp_path / "run", Faulty("bind", bad), **options)
    run = evaluate(tmp_path / "run", Faulty("bind", bad), resume=True, max_failed=0.5, **options)
    assert run["clean"].failed == {"ValueError": 15}


def test_nothing_but_failures_is_no_result(tmp_path: Path) -> None:
    every = [f"linear-0-{index}" for index in range(12)]
    with pytest.raises(InvalidInputError, match="questions failed"):
        evaluate(tmp_path / "run", Faulty("bind", every[:8]), data=data(8))
    with pytest.raises(InvalidInputError, match="questions failed"):
        evaluate(tmp_path / "run", Faulty("bind", every[:8]), data=data(8), resume=True, skip_failed=True)


def test_failed_questions_leave_every_reader_of_a_run_whole(tmp_path: Path) -> None:
    run = evaluate(tmp_path / "run", Faulty("attack"))
    whole = evaluate(tmp_path / "whole", Faulty("nowhere"))
    for baseline, current in ((run, whole), (whole, run)):
        (comparison,) = baseline.compare(current)
        assert "1 questions failed in one of the runs, and are left out" in comparison.notes
        assert {(measure.threat, measure.whole.n) for measure in comparison.measures} == {
            ("clean", 12),
            ("noise:draws=2", 12),
            ("certified-l2:sigma=0.01,n0=5,n=10", 12),
            (PGD, 11),
            ("worst-case", 11),
        }
    (recounts,) = (
        medrobust_bench.load_run(tmp_path / "run", models=[Faulty("attack")], data=data()).replay().values()
    )
    assert all(not recount.disagreements for recount in recounts)


@pytest.mark.parametrize("skip", [False, True])
def test_a_submission_answers_every_question(tmp_path: Path, skip: bool) -> None:
    from medrobust_bench.leaderboard.submit import submit

    run = evaluate(tmp_path / "run", Faulty("attack"), skip_failed=skip)
    with pytest.raises(InvalidInputError, match="questions failed under"):
        submit(run, tmp_path / "out")


def test_the_command_ends_with_one_and_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medrobust_bench.cli import main
    from medrobust_bench.runs import evaluate as module

    run = evaluate(tmp_path / "run", Faulty("attack"))
    monkeypatch.setattr(module, "carry_out", lambda *_args, **_more: run)
    result = CliRunner().invoke(main, ["run", "--out", str(tmp_path / "other"), "--model", "tiny-sft-letter"])
    assert result.exit_code == 1
    assert f"{BAD}, linear-toy under {PGD}: OutOfMemoryError: tried to allocate 20 GiB" in result.output
    assert "medrobust run --resume --out" in result.output


def test_the_rows_at_fault_are_found() -> None:
    asked: list[int] = []

    def work(rows: Sequence[int]) -> list[int]:
        asked.append(len(rows))
        if {3, 9} & set(rows):
            raise ArithmeticError(str(rows))
        return list(rows)

    done, failed = separately(work, range(16))
    assert [row for rows, _result in done for row in rows] == [row for row in range(16) if row not in (3, 9)]
    assert [row for row, _error in failed] == [3, 9]
    assert len(asked) < 20
    assert separately(work, []) == ([], [])


@pytest.mark.parametrize("stop", [InvalidInputError([]), KeyboardInterrupt(), AttributeError("a defect")])
def test_what_is_no_questions_fault_is_raised(stop: BaseException) -> None:
    def work(rows: Sequence[int]) -> None:
        raise stop

    with pytest.raises(type(stop)):
        separately(work, range(4))


class Named(Faulty):
    """Several in one run."""

    @property
    def record(self) -> ModelRecord:
        return super().record.model_copy(update={"id": self.stage})


def test_a_model_that_cannot_be_measured_costs_the_other_models_nothing(tmp_path: Path) -> None:
    """Neither one in which every question fails nor one that cannot be opened; `--resume` tries them again."""
    out, every = tmp_path / "run", [f"linear-0-{index}" for index in range(8)]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text('{"model_type": "nothing"}')
    options: dict[str, Any] = {"threats": THREATS, "data": data(8)}
    with pytest.raises(InvalidInputError) as refused:
        medrobust_bench.evaluate(
            model=[Named("bind", every), str(empty), Named("nowhere")], out=out, **options
        )
    assert len(refused.value.problems) == 2
    written = [Result.model_validate_json(path.read_text()) for path in (out / "results").iterdir()]
    alone = medrobust_bench.evaluate(model=Named("nowhere"), out=tmp_path / "alone", **options)
    assert {(one.model.id, one.threat.name): one.metrics for one in written} == {
        (one.model.id, one.threat.name): one.metrics for one in alone.results
    }
    assert "nowhere" in (out / "leaderboard.md").read_text()

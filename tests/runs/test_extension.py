"""A finished run grows; what is there stays, and the results are those of a run that began so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import medrobust_bench
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.problems import InvalidInputError
from tests.linear import LinearAdapter, LinearQuestions, make_questions
from tests.test_benchmark import result_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench import Run
    from medrobust_bench.data.question import Question
    from medrobust_bench.records import ModelRecord

PGD, NOISE = "pgd-linf:eps=2/255,step_size=1/255,steps=3", "noise:draws=2"


class Named(LinearAdapter):
    """A toy with a name, which notes every question that it is asked by gradient."""

    def __init__(self, name: str = "first") -> None:
        super().__init__(seed=1, shape=(6, 6), scale=0.3)
        self.name = name
        self.bound: list[str] = []

    @property
    def record(self) -> ModelRecord:
        return super().record.model_copy(update={"id": self.name})

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        self.bound += [question.id for question in questions]
        return super().bind(questions)


def data() -> Dataset:
    questions = make_questions(LinearAdapter(seed=1, shape=(6, 6), scale=0.3), 24)
    return Dataset(name="linear", split="test", questions=tuple(questions), synthetic=True)


def evaluate(out: Path, *models: Named, threats: Sequence[str] = (), **options: Any) -> Run:
    arguments: dict[str, Any] = {"data": data(), "batch_size": 4, "threats": list(threats) or None}
    return medrobust_bench.evaluate(model=list(models), out=out, **{**arguments, **options})


def lines(out: Path) -> list[str]:
    return (out / "journal.jsonl").read_text().splitlines()


def without_controls(line: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(line)
    return {
        name: value
        for name, value in fields.items()
        if name not in ("blind_choices", "forward_passes", "seconds")
    }


def test_a_further_threat(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(out, Named(), threats=[PGD])
    before = lines(out)
    run = evaluate(out, Named(), threats=[NOISE], extend=True)
    assert [threat.kind for threat in run.record.plan.threats] == ["clean", "pgd", "noise"]
    assert lines(out)[: len(before)] == before
    assert len(lines(out)) == len(before) + 24
    evaluate(tmp_path / "whole", Named(), threats=[PGD, NOISE])
    assert result_files(out) == result_files(tmp_path / "whole")


def test_a_further_model_leaves_the_first_alone(tmp_path: Path) -> None:
    out, first = tmp_path / "run", Named()
    evaluate(out, Named(), threats=[PGD])
    before = lines(out)
    run = evaluate(out, first, Named("second"), extend=True)
    assert run.models == ("first", "second")
    assert first.bound == []
    assert lines(out)[: len(before)] == before
    evaluate(tmp_path / "whole", Named(), Named("second"), threats=[PGD])
    assert result_files(out) == result_files(tmp_path / "whole")


def test_a_larger_limit_gives_what_a_run_with_that_limit_gives(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(out, Named(), threats=[PGD], limit=8)
    before = lines(out)
    run = evaluate(out, Named(), limit=20, extend=True)
    assert run["clean"].data.n == 20
    after = lines(out)
    attacked = [line for line in before if json.loads(line)["threat"] != "clean"]
    assert [line for line in after if line in attacked] == attacked, "attacked again"
    assert [without_controls(line) for line in after[: len(before)]] == [
        without_controls(line) for line in before
    ]
    evaluate(tmp_path / "whole", Named(), threats=[PGD], limit=20)
    assert result_files(out) == result_files(tmp_path / "whole")


@pytest.mark.parametrize("at", ["before any", "in the middle"])
def test_an_interrupted_extension_is_resumed(tmp_path: Path, at: str) -> None:
    out = tmp_path / "run"

    class Stopped(Named):
        def bind(self, questions: Sequence[Question]) -> LinearQuestions:
            bound = super().bind(questions)
            if len(self.bound) > (0 if at == "before any" else 20):
                raise KeyboardInterrupt
            return bound

    evaluate(out, Named(), threats=[PGD], limit=8)
    with pytest.raises(KeyboardInterrupt):
        evaluate(out, Stopped(), threats=[NOISE], limit=20, extend=True)
    evaluate(out, Named(), threats=[PGD, NOISE], limit=20, resume=True)
    evaluate(tmp_path / "whole", Named(), threats=[PGD, NOISE], limit=20)
    assert result_files(out) == result_files(tmp_path / "whole")


def test_what_is_no_extension_is_refused_and_leaves_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(out, Named(), threats=[PGD], limit=8)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InvalidInputError, match="asks fewer questions"):
        evaluate(out, Named(), limit=4, extend=True)
    with pytest.raises(InvalidInputError, match="seed differs"):
        evaluate(out, Named(), limit=20, seed=1, extend=True, data=data())
    other = data()
    with pytest.raises(InvalidInputError, match="does not hold the questions"):
        evaluate(
            out,
            Named(),
            limit=20,
            extend=True,
            data=Dataset(name="linear", split="test", questions=other.questions[12:], synthetic=True),
        )
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(InvalidInputError, match="is no folder"):
        evaluate(tmp_path / "nothing", Named(), extend=True)

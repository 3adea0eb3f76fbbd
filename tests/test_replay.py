"""A run is what its witnesses show; whatever is changed afterwards is found."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

import medrobust_bench
from medrobust_bench.cli import main
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import from_png, to_png
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.journal import Journal
from medrobust_bench.records.witness import read_witnesses, sha256, write_witnesses
from medrobust_bench.runs import suite
from medrobust_bench.runs.recount import Recount
from tests.linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from medrobust_bench.data.question import Question
    from medrobust_bench.records.witness import Witness

THREATS = ["pgd-linf:eps=2/255,steps=3", "patch:places=2,steps=3", "certified-l2-quick:n0=5,n=10,sigma=0.01"]
ADAPTER = LinearAdapter(seed=1, shape=(6, 6), scale=0.3)


def questions() -> Dataset:
    return Dataset(name="linear", split="test", questions=tuple(make_questions(ADAPTER, 12)), synthetic=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replay") / "run"
    medrobust_bench.evaluate(model=ADAPTER, threats=THREATS, data=questions(), out=out, batch_size=5)
    return out


def replayed(folder: Path, adapter: LinearAdapter = ADAPTER) -> dict[str, Recount]:
    run = medrobust_bench.load_run(folder, models=[adapter], data=questions())
    (recounts,) = run.replay().values()
    return {recount.threat.split(":")[0]: recount for recount in recounts}


def tampered(folder: Path, tmp_path: Path, change: Callable[[Witness], Witness | None]) -> Path:
    """A copy of a run, the first of whose PGD witnesses is changed, or lost."""
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    path = next(path for path in sorted((copy / "witnesses").iterdir()) if "pgd-linf" in path.name)
    first, *others = read_witnesses(path)
    changed = change(first)
    write_witnesses(path, [*([changed] if changed else []), *others])
    return copy


def test_replay_agrees_with_the_run(finished: Path) -> None:
    recounts = replayed(finished)
    assert set(recounts) == {"clean", "pgd-linf", "patch"}
    for recount in recounts.values():
        assert recount.disagreements == ()
        assert recount.recounted == recount.reported
        assert recount.questions == 12
    assert recounts["pgd-linf"].witnesses == 12 - recounts["pgd-linf"].reported > 0


def test_replay_makes_no_attack(finished: Path) -> None:
    class ForwardQuestions(LinearQuestions):
        def scores(self, pixels: torch.Tensor) -> torch.Tensor:
            assert not pixels.requires_grad
            return super().scores(pixels)

    class Forward(LinearAdapter):
        def bind(self, questions: Sequence[Question]) -> LinearQuestions:
            return ForwardQuestions.of(super().bind(questions))

    assert replayed(finished, Forward(seed=1, shape=(6, 6), scale=0.3))["patch"].disagreements == ()


def test_a_lost_witness_is_found(finished: Path, tmp_path: Path) -> None:
    recount = replayed(tampered(finished, tmp_path, lambda witness: None))["pgd-linf"]
    assert recount.recounted == recount.reported + 1
    assert "right, the run says wrong" in recount.disagreements[0]


@pytest.mark.parametrize(
    ("amount", "found"), [(1, "not the image that the journal names"), (9, "not the image")]
)
def test_another_image_is_found(finished: Path, tmp_path: Path, amount: int, found: str) -> None:
    def change(witness: Witness) -> Witness:
        image = from_png(witness.image).astype(int)
        image[0, 0] += np.where(image[0, 0] > 127, -amount, amount)
        png = to_png(image.astype(np.uint8))
        return witness.model_copy(update={"image": png, "sha256": sha256(png)})

    assert any(
        found in text for text in replayed(tampered(finished, tmp_path, change))["pgd-linf"].disagreements
    )


def test_an_image_outside_its_budget_is_found_even_if_the_journal_names_it(
    finished: Path, tmp_path: Path
) -> None:
    named: dict[str, str] = {}

    def change(witness: Witness) -> Witness:
        png = to_png(255 - from_png(witness.image))
        named[witness.question] = sha256(png)
        return witness.model_copy(update={"image": png, "sha256": sha256(png)})

    copy = tampered(finished, tmp_path, change)
    journal = Journal(copy / "journal.jsonl")
    journal.replace(
        [
            outcome.model_copy(update={"witness_sha256": named.get(outcome.question, outcome.witness_sha256)})
            if outcome.threat.startswith("pgd")
            else outcome
            for outcome in journal.read()
        ]
    )
    assert "levels" in " ".join(replayed(copy)["pgd-linf"].disagreements)


def test_other_weights_are_refused(finished: Path) -> None:
    with pytest.raises(InvalidInputError, match="had the weights"):
        replayed(finished, LinearAdapter(seed=2, shape=(6, 6), scale=0.3))


def test_a_model_that_answers_otherwise_is_found(finished: Path) -> None:
    class Otherwise(LinearAdapter):
        def bind(self, questions: object) -> object:
            bound = super().bind(questions)
            bound.biases += 1000 * np.eye(4)[0]
            return bound

    recounts = replayed(finished, Otherwise(seed=1, shape=(6, 6), scale=0.3))
    assert recounts["clean"].disagreements
    assert recounts["pgd-linf"].disagreements


@pytest.mark.parametrize(("answered", "code", "told"), [(0, 2, "no question that was answered"), (3, 0, "–")])
def test_what_failed_throughout_is_told(
    monkeypatch: pytest.MonkeyPatch, answered: int, code: int, told: str
) -> None:
    counts = [Recount("clean", answered, answered, answered, 0, ()), Recount("patch", 0, 0, 0, 0, ())]
    run = SimpleNamespace(
        record=SimpleNamespace(plan=SimpleNamespace(data=SimpleNamespace(name="linear"))),
        replay=lambda **_: {"toy": counts},
    )
    monkeypatch.setattr(suite, "load_runs", lambda *_, **__: [run])
    result = CliRunner().invoke(main, ["replay", "."])
    assert result.exit_code == code
    assert told in result.output

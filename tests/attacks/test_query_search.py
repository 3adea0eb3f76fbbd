"""Searches that need answers only: what breaks a question is found with scores and without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from medrobust_bench.attacks.query_search import GRACE, QuerySearch
from medrobust_bench.models.adapter import Answer, NoScoresError
from medrobust_bench.runs.run import load_run
from tests.linear import LinearAdapter, LinearQuestions, make_questions
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

THREATS = ("corruptions-quick", "corruptions-worst", "corruptions-adversarial:queries=6", "injection")


class SilentQuestions(LinearQuestions):
    """Questions of a server that returns answers and nothing else."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NoScoresError("no scores here")

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        told = LinearQuestions(self.batch, self.weights, self.biases)
        return told.answer(images, exact=exact)


class SilentAdapter(SchooledAdapter):
    """A toy behind such a server."""

    differentiable = False

    def __init__(self) -> None:
        super().__init__(lean=0.6)
        self.scale = 0.04

    def bind(self, questions: Sequence[Question]) -> SilentQuestions:
        return SilentQuestions.of(super().bind(questions))


class FragileAdapter(SchooledAdapter):
    """The same toy, with its scores."""

    def __init__(self) -> None:
        super().__init__(lean=0.6)
        self.scale = 0.04


def images_for(questions: Sequence[Question], count: int) -> NDArray[np.uint8]:
    """[count, B, 8, 8, 3] random images."""
    return np.random.default_rng(5).integers(0, 256, (count, len(questions), 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("silent", [False, True])
def test_the_first_wrong_answer_decides(silent: bool) -> None:
    toy = LinearAdapter(scale=0.02)
    questions = make_questions(toy, 12)
    bound = SilentQuestions.of(toy.bind(questions)) if silent else toy.bind(questions)
    search: QuerySearch[int] = QuerySearch(bound)
    shown = images_for(questions, 6)
    answers = np.array([[answer.choice for answer in toy.bind(questions).answer(list(row))] for row in shown])
    wrong = answers != np.array([question.answer for question in questions])
    for number, images in enumerate(shown):
        search.show({row: (number, images[row]) for row in search.open_rows})
    assert wrong.any(0).any()
    assert not wrong.any(0).all()
    for row, found in enumerate(search.results()):
        assert found is not None
        if wrong[:, row].any():
            assert found.how == wrong[:, row].argmax()
            assert found.answer is not None
            assert found.answer.choice == answers[found.how, row]
            assert np.array_equal(found.image, shown[found.how, row])
        else:
            assert found.answer is None
            assert row in search.open_rows


def test_without_a_wrong_answer_the_closest_is_kept() -> None:
    toy = LinearAdapter()
    questions = make_questions(toy, 4)
    bound = toy.bind(questions)
    search: QuerySearch[int] = QuerySearch(bound)
    clean = np.stack(bound.batch.images)
    shown = [
        np.where(clean > 128, clean - images // 128, clean + images // 128)
        for images in images_for(questions, 5)
    ]
    leads = [
        search.show({row: (number, images[row]) for row in range(4)}) for number, images in enumerate(shown)
    ]
    assert len({lead[0] for lead in leads}) == 5
    assert search.open_rows == [0, 1, 2, 3]
    for row, found in enumerate(search.results()):
        assert found is not None
        assert leads[found.how][row] == max(lead[row] for lead in leads)
        assert found.passes == 5


class MumblingQuestions(SilentQuestions):
    """Says nothing that can be parsed."""

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        return [Answer(None, "well") for _ in images]


def test_after_an_unparsable_answer_a_wrong_one_is_looked_for_a_while() -> None:
    toy = LinearAdapter()
    search: QuerySearch[int] = QuerySearch(MumblingQuestions.of(toy.bind(make_questions(toy, 2))))
    image = np.zeros((8, 8, 3), np.uint8)
    shown = 0
    while search.open_rows:
        search.show({row: (shown, image) for row in search.open_rows})
        shown += 1
    assert shown == 1 + GRACE
    found = search.results()[0]
    assert found is not None
    assert (found.how, found.answer) == (0, Answer(None, "well"))


def test_a_question_without_scores_costs_the_others_nothing() -> None:
    toy = LinearAdapter()
    questions = make_questions(toy, 3)

    class Patchy(LinearQuestions):
        def scores(self, pixels: torch.Tensor) -> torch.Tensor:
            if questions[1].id in {question.id for question in self.batch.questions}:
                raise NoScoresError("not of this one")
            return super().scores(pixels)

    search: QuerySearch[int] = QuerySearch(Patchy.of(toy.bind(questions)))
    bound = toy.bind(questions)
    leads = search.show({row: (0, bound.batch.images[row]) for row in range(3)})
    assert leads[1] == 0
    assert leads[0] < 0
    assert leads[2] < 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("silent")
    return {
        name: make_run(root / name, toy, threats=THREATS, limit=12, modalities=("X-ray", "Dermoscopy"))
        for name, toy in (("silent", SilentAdapter()), ("scored", FragileAdapter()))
    }


def test_every_threat_of_the_clinic_asks_for_answers_only(runs: dict[str, Path]) -> None:
    silent, scored = (load_run(runs[name]) for name in ("silent", "scored"))
    for threat in ("corruptions-quick", "corruptions-worst", "injection"):
        with_scores, without = scored.outcomes["schooled", threat], silent.outcomes["schooled", threat]
        assert any(outcome.attacked and not outcome.correct for outcome in without)
        assert [outcome.choice for outcome in with_scores] == [outcome.choice for outcome in without]
        for one, other in zip(with_scores, without, strict=True):
            assert one.correct or one.alterations == other.alterations
    standing = {
        name: {o.question for o in run.outcomes["schooled", "corruptions-adversarial:queries=6"] if o.correct}
        for name, run in (("silent", silent), ("scored", scored))
    }
    worst = {o.question for o in silent.outcomes["schooled", "corruptions-worst"] if o.correct}
    assert standing["silent"] <= worst
    assert standing["scored"] <= worst

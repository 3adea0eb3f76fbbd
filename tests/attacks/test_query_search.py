"""Searches that need answers only: what breaks a question is found with scores and without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from medrobust_bench.attacks.altering import AlteringThreat, remade_image
from medrobust_bench.attacks.query_search import GRACE, QuerySearch
from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms.questions import phantom_questions
from medrobust_bench.models.adapter import Answer, NoScoresError
from medrobust_bench.models.averaged import is_stochastic
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.seeds import question_seed
from tests.linear import LinearAdapter, LinearQuestions, make_questions
from tests.toy_runs import SchooledAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

ANSWERS_DECIDE = ("corruptions-quick", "corruptions-worst", "injection")
"""Threats whose images do not depend on scores."""
THREATS = (*ANSWERS_DECIDE, "corruptions-adversarial:queries=3")


class SilentQuestions(LinearQuestions):
    """Questions of a server that returns answers and nothing else."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NoScoresError("no scores here")

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        told = LinearQuestions(self.batch, self.weights, self.biases)
        return told.answer(images, exact=exact)


class FragileAdapter(SchooledAdapter):
    """A toy that words and faults break now and then."""

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
        search.show(dict.fromkeys(search.open_rows, (shown, image)))
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


@pytest.mark.parametrize("name", THREATS)
def test_the_threats_of_the_clinic_need_answers_only(name: str) -> None:
    questions = [q for q in phantom_questions(per_modality=3) if q.modality in ("X-ray", "Dermoscopy")]
    bound = FragileAdapter().bind(questions)
    threat = load_threat(name)
    assert isinstance(threat, AlteringThreat)
    seeds = [question_seed(0, question.id) for question in questions]
    scored, silent = (threat.meet(one, seeds) for one in (bound, SilentQuestions.of(bound)))
    broken = 0
    for question, one, other in zip(questions, scored, silent, strict=True):
        choices = [trial.said.choice for trial in (one, other) if trial.said is not None]
        broken += choices[1] != question.answer
        if name in ANSWERS_DECIDE:
            assert choices[0] == choices[1]
            assert choices[0] == question.answer or one.alterations == other.alterations
        assert threat.missing(question, other.alterations) is None
        clean = canonical(question.image)
        for alteration in other.alterations:
            assert remade_image(threat, question, clean, 0, alteration)[0] is not None
    assert broken > 0


def test_a_model_without_scores_is_not_taken_for_a_random_one() -> None:
    toy = LinearAdapter()
    assert not is_stochastic(SilentQuestions.of(toy.bind(make_questions(toy, 2))))

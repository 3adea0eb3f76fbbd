"""Who looks at the image, who does not, and who only notices that it is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medrobust_bench.data.image import canonical, fitted
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.adapter import Answer
from medrobust_bench.runs.audit.blindness import (
    ANOTHER,
    ANOTHER_IMAGE,
    DEPENDENCE,
    blindness,
    replacements,
    strangers,
)
from medrobust_bench.runs.chunk import Chunk
from tests.toy_runs import SchooledAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.records import Finding

QUESTIONS = sample(open_data("phantoms"), 100).questions


def norm(text: str) -> str:
    return text.casefold().rstrip(".")


def test_a_strangers_right_answer_is_a_wrong_option_of_the_same_kind_of_question() -> None:
    by_id = {question.id: question for question in QUESTIONS}
    found = strangers(QUESTIONS, seed=0)
    assert len(found) > 50
    for name, other in found.items():
        question = by_id[name]
        assert (other.modality, other.question_type) == (question.modality, question.question_type)
        assert other.image != question.image
        wrong = {norm(text) for k, text in enumerate(question.options) if k != question.answer}
        assert norm(other.options[other.answer]) in wrong - {norm(question.options[question.answer])}


def test_lots_are_drawn_by_seed_and_question_and_not_by_order() -> None:
    found = strangers(QUESTIONS, seed=0)
    assert strangers(QUESTIONS[::-1], seed=0) == found
    other = strangers(QUESTIONS, seed=1)
    assert other.keys() == found.keys()
    assert other != found


def test_nobody_stands_in_for_a_question_about_the_same_patient() -> None:
    together = [replace(question, group="one patient") for question in QUESTIONS]
    assert strangers(together, seed=0) == {}


def test_a_question_whose_kind_has_one_answer_only_has_no_stranger() -> None:
    found = strangers(QUESTIONS, seed=0)
    recognised = [q for q in QUESTIONS if q.question_type == "Modality recognition"]
    assert recognised
    assert not any(question.id in found for question in recognised)


def test_replacements_keep_the_shape() -> None:
    image = canonical(QUESTIONS[0].image)[:40]
    made = replacements(image, 0, QUESTIONS[1])
    assert {name: one.shape for name, one in made.items()} == dict.fromkeys(
        ("blank", "noise", "shuffled", ANOTHER), image.shape
    )
    assert np.array_equal(fitted(image, image.shape[:2]), image)
    assert ANOTHER not in replacements(image, 0, None)


class ByHeart:
    """Knows every answer by the question's text; gives another where the image is none of a phantom."""

    def __init__(self, bound: object, *, notices: bool) -> None:
        self._bound = bound
        self._notices = notices
        self._known = {canonical(question.image).tobytes() for question in QUESTIONS}

    def __getattr__(self, name: str) -> object:
        return getattr(self._bound, name)

    def select(self, rows: Sequence[int]) -> ByHeart:
        chosen = object.__new__(ByHeart)
        chosen._bound, chosen._notices, chosen._known = self._bound.select(rows), self._notices, self._known  # type: ignore[attr-defined]
        return chosen

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        given = []
        for question, image in zip(self._bound.batch.questions, images, strict=True):  # type: ignore[attr-defined]
            real = not self._notices or image.tobytes() in self._known
            given.append(Answer(question.answer if real else (question.answer + 1) % len(question.options)))
        return given


def findings(*, notices: bool) -> dict[str, Finding]:
    adapter = SchooledAdapter()
    bind = adapter.bind
    adapter.bind = lambda questions: ByHeart(bind(questions), notices=notices)  # type: ignore[assignment, method-assign, return-value]
    chunk = Chunk(adapter, "cheat", QUESTIONS, seed=0)
    every = frozenset(question.id for question in QUESTIONS)
    clean = chunk.without_images(chunk.clean(), every, strangers(QUESTIONS, seed=0))
    return {finding.check: finding for finding in blindness(clean)}


@pytest.mark.parametrize("notices", [False, True])
def test_answers_by_heart_fail_even_where_a_missing_image_is_noticed(notices: bool) -> None:
    found = findings(notices=notices)
    assert found[ANOTHER_IMAGE.name].verdict == "fail"
    assert found[ANOTHER_IMAGE.name].value == 0
    if notices:
        assert found["blank image"].value == found["noise image"].value == 1
        assert found[DEPENDENCE.name].verdict == "warn", "where no other image was shown, it is believed"
    else:
        assert found[DEPENDENCE.name].verdict == "fail"

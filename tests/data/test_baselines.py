"""Baselines that never see an image: closed forms, and what was measured on real questions."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.baselines import baselines, option_text_choices, without_images
from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.question import Question
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.records import WithoutImages

if TYPE_CHECKING:
    from pathlib import Path


def ask(*options: str, right: str, text: str = "What?") -> Question:
    return Question(
        "q", ImageBytes(b""), text, options, options.index(right), "CT", "Disease diagnosis", "set"
    )


QUESTIONS = [ask("a", "b", right="a"), ask("a", "b", "c", "d", right="c"), ask("x", "y", right="x")]


def test_chance_and_the_best_constant_letter() -> None:
    found = baselines(QUESTIONS)
    assert found.n == 3
    assert found.chance == pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3)
    assert found.majority_letter == pytest.approx(2 / 3)
    assert found.option_texts is found.with_question is None


def test_the_text_that_was_right_most_often_when_it_was_offered_is_chosen() -> None:
    training = [
        *(ask("Normal.", "Tumour", right="Normal.") for _ in range(9)),
        ask("Normal.", "Tumour", right="Tumour"),
        ask("Cyst", "Tumour", right="Cyst"),
    ]
    assert option_text_choices([ask("tumour", "normal", right="tumour")], training) == [1]
    # Right once of once: 2/3, less than 10/12.
    assert option_text_choices([ask("Cyst", "Normal", right="Cyst")], training) == [1]
    # Offered and never right is less than never offered.
    assert option_text_choices([ask("Tumour", "Fracture", right="Tumour")], training) == [1]
    assert option_text_choices([ask("new", "newer", right="newer")], training) == [0], (
        "among equals the first"
    )
    assert option_text_choices([], training) == []


def test_a_question_text_that_is_known_goes_first() -> None:
    training = [
        *(ask("Yes", "No", right="Yes", text="Is it a CT?") for _ in range(5)),
        ask("Yes", "No", right="No", text="Is it cancer?"),
    ]
    asked = [
        ask("Yes", "No", right="No", text="is it cancer?"),
        ask("Yes", "No", right="Yes", text="Is it new?"),
    ]
    assert option_text_choices(asked, training) == [0, 0]
    assert option_text_choices(asked, training, with_question=True) == [1, 0]
    found = baselines(asked, training)
    assert (found.option_texts, found.with_question) == (0.5, 1.0)


@given(st.permutations(["a", "b", "c", "d"]), st.permutations(["a", "b", "c", "d"]))
def test_places_of_options_tell_nothing(one: list[str], other: list[str]) -> None:
    training = [ask("a", "b", "c", "d", right=right) for right in "abbcccdddd"]
    chosen = [option_text_choices([ask(*order, right="a")], training)[0] for order in (one, other)]
    assert [one[chosen[0]], other[chosen[1]]] == ["d", "d"]


def test_no_questions_no_baseline() -> None:
    with pytest.raises(ValueError, match="no questions"):
        baselines([])


def test_what_real_option_texts_give_away(omnimedvqa: Path) -> None:
    if omnimedvqa.name != "omni_mini":
        pytest.skip("another tree than the one that was measured")
    opened = open_data(omnimedvqa, split="test")
    training, test = open_data(omnimedvqa, split="train").questions, opened.questions
    found = baselines(test, training)
    assert without_images(opened).option_texts == found.option_texts
    assert (found.n, round(found.option_texts or 0, 3)) == (211, 0.687)
    assert found.chance < 0.3


def test_option_texts_of_phantoms_give_nothing_away() -> None:
    training, test = (open_data("phantoms", split=split).questions for split in ("train", "test"))
    found = baselines(test, training)
    assert abs((found.option_texts or 0) - found.chance) < 0.05


def test_an_opened_data_set_knows_what_its_texts_give_away(tmp_path: Path) -> None:
    test = open_data("phantoms", split="test")
    training = open_data("phantoms", split="train").questions
    assert test.option_texts == dict(
        zip(
            (question.id for question in test.questions),
            option_text_choices(test.questions, training),
            strict=True,
        )
    )
    part = sample(test, 30)
    found = without_images(part)
    right = sum(test.option_texts[question.id] == question.answer for question in part.questions)
    assert found.option_texts == right / 30
    assert open_data("phantoms", split="train").option_texts is None, (
        "nobody is measured on what it learnt from"
    )
    alone = dataclasses.replace(part, option_texts=None)
    assert without_images(alone) == WithoutImages(
        chance=found.chance, majority=found.majority, option_texts=None
    )

"""Exchanged prompts: another image, another right option, and words that say nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.data.question import Question
from medrobust_bench.specs.vocabulary import Modality, QuestionType
from medrobust_bench.train.examples import build_examples
from medrobust_bench.train.exchange import Exchange
from medrobust_bench.train.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

WORDS = ("Which finding is shown?", "Is it benign?")


def asked(id: str, right: str, options: Iterable[str], text: str = WORDS[0]) -> Question:
    options = tuple(options)
    return Question(
        id=id,
        image=ImageBytes(id.encode()),
        text=text,
        options=options,
        answer=options.index(right),
        modality=Modality.CT,
        question_type=QuestionType.DIAGNOSIS,
        dataset="toy",
        group=f"patient {id}",
        explanation=f"what {id} shows",
    )


QUESTIONS = (
    asked("a", "Cyst", ["Edema", "Cyst", "Stone"]),
    asked("b", "edema.", ["cyst", "edema.", "bleeding"], "Which  finding is shown?"),
    asked("c", "Bleeding", ["Bleeding", "Tumor"]),
    asked("d", "No", ["Yes", "No"], WORDS[1]),
    asked("e", "Edema", ["Edema", "Cyst"], WORDS[1]),
)
SEEDS = range(400)


def test_a_stranger_was_asked_the_same_and_its_answer_is_an_option_here() -> None:
    exchange = Exchange(QUESTIONS)
    for question in QUESTIONS:
        for seed in SEEDS:
            drawn = exchange(question, seed)
            assert (drawn.id, drawn.text, drawn.options) == (question.id, question.text, question.options)
            (owner,) = (q for q in QUESTIONS if q.image == drawn.image)
            said = [q.options[q.answer].casefold().rstrip(".") for q in (drawn, owner)]
            assert said[0] == said[1]
            assert (drawn.group, drawn.explanation) == (owner.group, owner.explanation)


def test_answers_are_drawn_evenly_so_that_the_words_say_nothing() -> None:
    exchange = Exchange(QUESTIONS)
    first, second, third = QUESTIONS[:3]
    times = Counter(exchange(first, seed).answer for seed in SEEDS)
    assert set(times) == {0, 1}  # a stone is never right
    assert min(times.values()) > 150
    times = Counter(exchange(second, seed).answer for seed in SEEDS)
    assert set(times) == {0, 1, 2}
    assert min(times.values()) > 90
    assert all(exchange(third, seed) is third for seed in SEEDS)  # nobody's finding is a tumor


def test_a_question_in_other_words_is_no_stranger() -> None:
    exchange = Exchange(QUESTIONS)
    for question in QUESTIONS[3:]:
        assert all(exchange(question, seed) is question for seed in SEEDS)
        assert exchange.counterpart(question, 0) is None


def test_the_share_is_that_of_the_prompts_and_the_order_of_the_questions_is_nothing() -> None:
    some, backwards = Exchange(QUESTIONS, 0.25), Exchange(QUESTIONS[::-1], 0.25)
    drawn = [some(QUESTIONS[0], seed) for seed in SEEDS]
    assert 0.06 < sum(one is not QUESTIONS[0] for one in drawn) / len(drawn) < 0.2  # an eighth
    assert drawn == [backwards(QUESTIONS[0], seed) for seed in SEEDS]
    assert all(Exchange(QUESTIONS, 0.0)(question, 1) is question for question in QUESTIONS)


def test_a_counterpart_has_another_right_option_also_of_an_exchanged_prompt() -> None:
    exchange = Exchange(QUESTIONS)
    for seed in SEEDS:
        drawn = exchange(QUESTIONS[0], seed)
        other = exchange.counterpart(drawn, seed)
        assert other is not None
        assert other.answer != drawn.answer
        assert other.image != drawn.image


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_who_answers_by_heart_learns_no_more_than_chance_from_exchanged_phantoms(share: float) -> None:
    questions = phantom_questions("train", per_modality=5, seed=3)
    exchange = Exchange(questions, share)
    examples = build_examples(questions, {Task.REASON: 1.0}, count=4000, seed=0, exchange=exchange)
    by_words: dict[tuple[str, tuple[str, ...]], Counter[int]] = {}
    for example in examples:
        words = example.question.text, example.question.options
        by_words.setdefault(words, Counter())[example.question.answer] += 1
        assert example.completion.endswith(f"<answer>{example.question.letter}</answer>")
    best = [max(times.values()) / times.total() for times in by_words.values() if len(times) > 1]
    assert bool(best) is bool(share)
    assert all(share < 0.75 for share in best)


def test_the_examples_of_a_recipe_without_exchange_are_those_of_before() -> None:
    questions = phantom_questions("train", per_modality=2, seed=3)
    plain = build_examples(questions, {Task.REASON: 0.5, Task.DESCRIBE: 0.5}, count=40, seed=1)
    again = build_examples(questions, {Task.REASON: 0.5, Task.DESCRIBE: 0.5}, count=40, seed=1, exchange=None)
    assert plain == again
    assert any(one.question is not other.question for one, other in pairwise(plain))


def test_two_questions_about_one_image_are_no_strangers() -> None:
    same = replace(QUESTIONS[1], image=QUESTIONS[0].image)
    assert Exchange([QUESTIONS[0], same]).counterpart(QUESTIONS[0], 0) is None

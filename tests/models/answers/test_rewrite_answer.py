"""A rewritten completion answers with the other option, and differs from the first one where that is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.models.read_answer import read_answer
from medrobust_bench.models.rewrite_answer import rewrite_answer
from tests.models.answers import corpus

if TYPE_CHECKING:
    from tests.models.answers.corpus import Completion

READ = [completion for completion in corpus.completions() if completion.choice is not None]
OPTIONS = ("Melanoma", "Nevus", "Basal cell carcinoma", "Dermatofibroma")


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("completion", READ, ids=lambda case: f"{case.family}: {case.text[-40:]!r}")
def test_every_completion_of_the_corpus_can_be_made_to_mean_every_other_option(
    completion: Completion, words: bool
) -> None:
    for other, option in enumerate(completion.options):
        rewritten = rewrite_answer(completion.text, completion.options, other, words=words)
        answer = read_answer(rewritten, completion.options)
        twin = [text.lower() for text in completion.options].count(option.lower()) > 1
        assert answer.choice == other or (twin and answer.choice is None)


@given(st.sampled_from(READ))
def test_the_same_option_changes_nothing(completion: Completion) -> None:
    assert completion.choice is not None
    rewritten = rewrite_answer(completion.text, completion.options, completion.choice, words=False)
    assert rewritten.casefold().split() == completion.text.casefold().split() or (
        read_answer(rewritten, completion.options).choice == completion.choice
    )


@given(st.sampled_from([case for case in corpus.completions() if case.choice is None]), st.integers(0, 1))
def test_what_is_unparsed_stays_as_it_is(completion: Completion, other: int) -> None:
    assert rewrite_answer(completion.text, completion.options, other, words=True) == completion.text


def test_the_rationale_changes_only_where_words_do() -> None:
    text = "<think>A nevus, not a melanoma.</think><answer>B. Nevus</answer>"
    assert rewrite_answer(text, OPTIONS, 0, words=False) == (
        "<think>A nevus, not a melanoma.</think><answer>A. Melanoma</answer>"
    )
    assert rewrite_answer(text, OPTIONS, 2, words=True) == (
        "<think>A Basal cell carcinoma, not a melanoma.</think><answer>C. Basal cell carcinoma</answer>"
    )


def test_the_completions_part_where_the_answer_is_decided() -> None:
    text = "It is symmetric. The answer is B because of its border, and B only."
    rewritten = rewrite_answer(text, OPTIONS, 3, words=False)
    first = next(place for place, (a, b) in enumerate(zip(text, rewritten, strict=False)) if a != b)
    assert (first, first + 1) == read_answer(text, OPTIONS).span
    assert rewritten.startswith("It is symmetric. The answer is D because")


def test_a_card_pattern_says_what_is_rewritten() -> None:
    text = "Verdict: B. The answer is A."
    assert (
        rewrite_answer(text, OPTIONS, 2, words=False, pattern=r"Verdict: (\w)")
        == "Verdict: C. The answer is A."
    )

"""An answer is read as it is meant, by the documented tier, or not at all."""

from __future__ import annotations

import re
import time
from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import medrobust_bench
from medrobust_bench.models.option_names import LETTERS
from medrobust_bench.models.read_answer import UNPARSED, Tier, read_answer, refuses
from tests.models.answers import corpus

if TYPE_CHECKING:
    from tests.models.answers.corpus import Completion

CORPUS = corpus.completions()
OPTIONS = ("Melanoma", "Nevus", "Basal cell carcinoma", "Dermatofibroma")
WORDS = "melanoma basal cell carcinoma nevus a patient notice the not is correct or and option cannot unlikely because"
SIGNS = ["(", ")", "**", "`", ".", ",", ":", "?", "\n", '"', "{", "}"]
MARKS = ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{"]
STATEMENTS = ["answer is", "Answer:", "I choose", "答案是", "选", "Réponse :", "wait, no,"]
PIECES = [*"ABCDEIabi", *OPTIONS, *WORDS.split(), *SIGNS, *MARKS, *STATEMENTS]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda glue: glue.join(pieces))
)


def names(text: str, option: str, letter: str) -> bool:
    """Whether a text holds an option's letter by itself, or its words; written apart from the code under test."""
    words = r"[\W_]*".join(map(re.escape, re.findall(r"[a-z0-9.]+", option.lower()))) or option
    by_letter = re.search(rf"(?<![a-zA-Z0-9])(?:{letter}|{letter.lower()})(?![a-zA-Z0-9])", text)
    return bool(by_letter or re.search(rf"(?<![a-z0-9]){words}(?![a-z0-9])", text.lower()))


def test_the_corpus_is_large_and_about_real_formats() -> None:
    assert len(CORPUS) >= 300
    assert len({(completion.options, completion.text) for completion in CORPUS}) > len(CORPUS) - 10, (
        "hardly any twice"
    )


@pytest.mark.parametrize("completion", CORPUS, ids=lambda case: f"{case.family}: {case.text[-40:]!r}")
def test_each_completion_is_read_as_meant(completion: Completion) -> None:
    answer = read_answer(completion.text, completion.options)
    assert (answer.choice, answer.tier) == (completion.choice, completion.tier)
    if answer.choice is None:
        assert answer.span is None
    else:
        assert answer.span is not None
        decisive = completion.text[slice(*answer.span)]
        assert names(decisive, completion.options[answer.choice], LETTERS[answer.choice]) or decisive == "Ｂ"


def test_the_documented_table_is_that_of_the_corpus() -> None:
    assert corpus.written() == corpus.table(), "run `python -m tests.models.answers.corpus`"


@given(TEXTS)
def test_no_option_is_read_that_the_text_does_not_name(text: str) -> None:
    answer = read_answer(text, OPTIONS)
    if answer.choice is not None:
        assert answer.span is not None
        assert names(text[slice(*answer.span)], OPTIONS[answer.choice], LETTERS[answer.choice])


@given(st.text(), st.integers(2, 10))
def test_any_text_is_read_without_an_error(text: str, count: int) -> None:
    answer = read_answer(text, [f"option number {place}" for place in range(count)])
    assert answer.choice is None or 0 <= answer.choice < count


WRAPPED = [
    "**{}**",
    "`{}`",
    "# {}",
    "> {}",
    "- {}",
    "_{}_",
    "```\n{}\n```",
    "  {}",
    "\n\n{}\n\n",
    "{}<|im_end|>",
]


@given(
    st.sampled_from([completion for completion in CORPUS if "\n" not in completion.text]),
    st.sampled_from(WRAPPED),
)
def test_white_space_and_markdown_around_it_change_nothing(completion: Completion, wrapped: str) -> None:
    plain = read_answer(completion.text, completion.options)
    answer = read_answer(wrapped.replace("{}", completion.text), completion.options)
    assert answer.choice == plain.choice


@given(
    st.permutations(range(4)),
    st.sampled_from([c for c in CORPUS if len(c.options) == 4 and c.tier is Tier.TEXT]),
)
def test_an_option_text_is_read_wherever_its_option_stands(order: list[int], completion: Completion) -> None:
    shuffled = [completion.options[place] for place in order]
    answer = read_answer(completion.text, shuffled)
    if answer.choice is not None and answer.tier is Tier.TEXT:
        assert order[answer.choice] == completion.choice
    else:
        assert any(letter in completion.text for letter in "ABCD"), (
            "unread only where a word is now a letter too"
        )


NAMED = [*"ABCD", *OPTIONS]


@pytest.mark.parametrize(
    ("tier", "form"),
    [
        (Tier.PATTERN, "My verdict: {0}; my verdict: {1};"),
        (Tier.TAGS, "<answer>{0}</answer> <answer>{1}</answer>"),
        (Tier.TAGS, "<answer>{0} or {1}</answer>"),
        (Tier.BOXED, "\\boxed{{{0}}} and \\boxed{{{1}}}"),
        (Tier.STATED, "The answer is {0}. The answer is {1}."),
        (Tier.STATED, "Answer: {0}\nAnswer: {1}"),
        (Tier.LETTER, "{0}\n{1}"),
        (Tier.TEXT, "{0}, {1}"),
    ],
)
def test_two_options_in_the_deciding_tier_are_unparsed_and_one_said_twice_is_not(
    tier: Tier, form: str
) -> None:
    said = {Tier.LETTER: NAMED[:4], Tier.TEXT: NAMED[4:]}.get(tier, NAMED)
    for one in said:
        for other in said:
            answer = read_answer(form.format(one, other), OPTIONS, pattern=r"verdict: (?P<answer>[^;]*);")
            same = NAMED.index(one) % 4 == NAMED.index(other) % 4
            assert answer.choice == (NAMED.index(one) % 4 if same else None), (one, other)
            assert answer.tier == (tier if same else Tier.UNPARSED)


@pytest.mark.parametrize("count", range(2, 11))
def test_every_letter_of_up_to_ten_options_is_read_and_no_letter_beyond(count: int) -> None:
    options = [f"finding {number}" for number in range(count)]
    for form in ("{}", "({})", "<answer>{}</answer>", "\\boxed{{{}}}", "The answer is {}.", "Option {}"):
        for place, letter in enumerate(LETTERS):
            answer = read_answer(form.format(letter), options)
            assert answer.choice == (place if place < count else None), form


def test_options_are_two_to_ten() -> None:
    for count in (0, 1, 11):
        with pytest.raises(ValueError, match="must be 2 to 10"):
            read_answer("A", ["x"] * count)


def test_the_span_is_where_the_answer_is_decided() -> None:
    text = "<think>B B B</think> So: <answer> (B) Nevus </answer>"
    start, end = read_answer(text, OPTIONS).span or (0, 0)
    assert (text[start:end], start) == ("B", text.rindex("(B)") + 1)
    text = "It is, all in all, a basal-cell carcinoma."
    start, end = read_answer(text, OPTIONS).span or (0, 0)
    assert text[start:end] == "basal-cell carcinoma"


# The card's own patterns


def test_a_card_says_where_the_answer_and_the_rationale_stand() -> None:
    text = "Rationale: looks like A. Verdict = B. The answer is C."
    assert read_answer(text, OPTIONS).choice == 2
    assert read_answer(text, OPTIONS, pattern=r"Verdict = (\w)").choice == 1
    assert read_answer(text, OPTIONS, pattern=r"Verdict = (?P<answer>\w)").tier is Tier.PATTERN
    assert read_answer(text, OPTIONS, pattern=r"Judgement = (\w)").tier is Tier.STATED, (
        "falls back where it fails"
    )
    assert read_answer("THOUGHT it is A. END B", OPTIONS, thought="THOUGHT.*?END").choice == 1


def test_a_pattern_that_marks_no_option_leaves_the_completion_unparsed() -> None:
    assert read_answer("Verdict = unclear. Answer: B", OPTIONS, pattern=r"Verdict = (\w+)") == UNPARSED


def test_a_faulty_pattern_is_an_error() -> None:
    with pytest.raises(re.error):
        read_answer("B", OPTIONS, pattern="(")


# Strict reading


STRICTLY = re.compile(
    r"\s*<think>((?:(?!<think>|<answer>).)*)</think>\s*<answer>\s*([A-J])\s*</answer>\s*", re.DOTALL
)


@given(st.sampled_from([completion.text for completion in CORPUS]) | TEXTS, st.integers(2, 10))
def test_strict_reading_takes_one_rationale_and_one_letter_and_nothing_else(text: str, count: int) -> None:
    answer = read_answer(text, [f"finding {number}" for number in range(count)], strict=True)
    match = STRICTLY.fullmatch(text)
    wanted = LETTERS.index(match[2]) if match else count
    assert answer.choice == (wanted if wanted < count else None)
    assert (answer.tier is Tier.STRICT) == (answer.choice is not None)


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "<answer>B</answer>",
        "<think>…</think> B",
        "<think>…</think><answer>B.</answer>",
        "<think>…</think><answer>Nevus</answer>",
        "So: <think>…</think><answer>B</answer>",
        "<think>…</think><answer>B</answer>.",
        "<think>…</think><answer>B</answer><answer>B</answer>",
        "<think><think>…</think><answer>B</answer>",
        "<think>…</think><answer>E</answer>",
    ],
)
def test_strict_reading_takes_nothing_else(text: str) -> None:
    assert read_answer(text, OPTIONS, strict=True) == UNPARSED
    assert read_answer("<think>…</think>\n <answer> B </answer>\n", OPTIONS, strict=True).choice == 1


def test_strict_span_and_what_is_strictly_read_is_read_the_same() -> None:
    for letter in "ABCD":
        text = f"<think>It could be A, B, C or D.</think><answer>{letter}</answer>"
        strict, lenient = read_answer(text, OPTIONS, strict=True), read_answer(text, OPTIONS)
        assert strict.span == lenient.span
        assert strict.choice == lenient.choice == LETTERS.index(letter)
        assert text[slice(*(strict.span or (0, 0)))] == letter


# Refusals


def test_refusals_are_told_from_other_unparsed_answers() -> None:
    refusals = [completion for completion in CORPUS if completion.family == "refusals"]
    told = [completion for completion in refusals if refuses(completion.text)]
    assert len(told) >= len(refusals) - 2, "all but 'None of the options' and 'Unknown'"
    assert not any(refuses(completion.text) for completion in CORPUS if completion.family == "Med-R1")
    assert not refuses("<think>I cannot tell yet.</think>B")


# Hostile and broken text


@pytest.mark.parametrize(
    "piece",
    [
        *MARKS,
        "{",
        "Answer: ",
        "A, ",
        "A ",
        "A or ",
        "option ",
        "B. ",
        "(A) ",
        "nevus ",
        "nevus, ",
        " ",
        "\n",
        "no ",
    ],
)
def test_long_repetitive_text_is_read_in_reasonable_time(piece: str) -> None:
    started = time.process_time()
    read_answer(piece * (20_000 // len(piece)), OPTIONS)
    assert time.process_time() - started < 3


def test_the_same_words_in_another_order_of_options_mean_the_same() -> None:
    for order in permutations(OPTIONS):
        answer = read_answer("The answer is basal cell carcinoma.", order)
        assert answer.choice == order.index("Basal cell carcinoma")


def test_it_is_part_of_the_public_interface() -> None:
    assert medrobust_bench.read_answer("B", ["yes", "no"]).choice == 1

"""Training examples: which texts are learnt, from which prompt, and where the loss falls."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.examples import (
    DESCRIBE_PROMPT,
    NOT_LEARNT,
    Collator,
    build_example,
    build_examples,
    rationale,
)
from medrobust_bench.train.tasks import Task
from tests.train.conftest import SMALL

TASKS = [task for task in Task if task is not Task.TICK]  # whose prompt is learnt too

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question

REASONING = STRATEGIES[AnswerMode.REASONING]


def test_completions_answer_right_in_the_form_of_their_task(questions: tuple[Question, ...]) -> None:
    for question in questions:
        reason = build_example(question, Task.REASON)
        assert reason.completion == REASONING.write(rationale(question), question.letter)
        assert reason.prompt == REASONING.prompt(question)
        direct = build_example(question, Task.DIRECT)
        assert direct.completion == REASONING.write("", question.letter)
        assert direct.prompt == reason.prompt
        for example in (reason, direct):
            assert REASONING.read(example.completion, question.options).choice == question.answer
        letter = build_example(question, Task.LETTER)
        assert (letter.prompt, letter.completion) == (
            STRATEGIES[AnswerMode.LETTER].prompt(question),
            question.letter,
        )
        describe = build_example(question, Task.DESCRIBE)
        assert (describe.prompt, describe.completion) == (DESCRIBE_PROMPT, question.explanation)
        read, read_direct = build_example(question, Task.READ), build_example(question, Task.READ_DIRECT)
        assert (read.completion, read_direct.completion) == (reason.completion, direct.completion)
        assert read.prompt == read_direct.prompt == f"{question.explanation}\n{reason.prompt}"
        assert [e.shown for e in (reason, direct, letter, describe, read, read_direct)] == [True] * 4 + [
            False
        ] * 2


def test_matching_names_every_option_with_its_letter(questions: tuple[Question, ...]) -> None:
    for question in questions:
        example = build_example(question, Task.MATCH)
        assert not example.shown
        named = example.completion.removesuffix(".").removeprefix(" ").split(". ")
        truth = [f"{option} {letter}" for letter, option in zip("ABCDE", question.options, strict=False)]
        assert sorted(named) == sorted(truth * 2)
        decided = [example.completion[start:end] for start, end in example.decisive]
        assert decided == [name[-1] for name in named]


def test_ticking_judges_every_option_as_it_is_read(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    collate = Collator(build_processor(SMALL, tokenizer), answer_weight=5.0)
    yes, no = (tokenizer(word, add_special_tokens=False).input_ids[-1] for word in (" Yes", " No"))
    assert yes != no
    for question in questions:
        plain, ticked = build_example(question, Task.LETTER), build_example(question, Task.TICK)
        assert replace(ticked, ticked=()) == plain
        lines = [ticked.prompt[start:end] for start, end in ticked.ticked]
        assert lines == [f" {option}\n" for option in question.options]

        batch, without = collate([ticked]), collate([plain])
        tokens, added = batch["input_ids"][0], (batch["weights"] - without["weights"])[0]
        assert tokens.equal(without["input_ids"][0])
        assert added.unique().tolist() == [0, 1]
        said = {int(position): int(batch["labels"][0, position]) for position in added.nonzero()}
        ends = [
            position
            for position in said
            if any(tokenizer.decode(tokens[: position + 1]).endswith(line) for line in lines)
        ]
        assert [said[position] for position in ends] == [
            yes if number == question.answer else no for number in range(len(lines))
        ]
        # Along an option: what comes next if it is the right one, as long as it can be.
        right = question.options[question.answer]
        for position in said.keys() - set(ends):
            begun = tokenizer.decode(tokens[: position + 1]).rpartition(")")[2]
            assert f" {right}\n".startswith(begun + tokenizer.decode([said[position]]))


def test_only_the_letters_of_the_answer_are_decisive(questions: tuple[Question, ...]) -> None:
    shown = replace(questions[0], explanation="Plan A. B C.", options=("A", "grade B", "cyst"), answer=1)
    for task, words in {
        Task.REASON: ["B", "B"],
        Task.DIRECT: ["B"],
        Task.LETTER: ["B"],
        Task.DESCRIBE: [],
    }.items():
        example = build_example(shown, task)
        assert [example.completion[start:end] for start, end in example.decisive] == words


def test_a_rationale_describes_and_then_names_the_answer_and_its_letter(
    questions: tuple[Question, ...],
) -> None:
    shown = replace(questions[0], explanation="CT of the head.", options=("cyst", "tumor"), answer=1)
    assert rationale(shown) == "CT of the head. tumor B."
    assert rationale(replace(shown, explanation="")) == "tumor B."


def test_what_is_not_described_is_named_by_the_answer(questions: tuple[Question, ...]) -> None:
    bare = replace(questions[0], explanation="")
    assert build_example(bare, Task.DESCRIBE).completion == bare.options[bare.answer]


def test_every_question_comes_once_before_any_comes_again(questions: tuple[Question, ...]) -> None:
    n = len(questions)
    examples = build_examples(questions, {Task.LETTER: 1.0}, count=2 * n + 3, seed=0)
    first, second = examples[:n], examples[n : 2 * n]
    assert {e.question.id for e in first} == {e.question.id for e in second} == {q.id for q in questions}
    assert [e.question.id for e in first] != [e.question.id for e in second]
    assert len(examples) == 2 * n + 3


def test_tasks_are_drawn_by_their_shares_and_the_seed(questions: tuple[Question, ...]) -> None:
    shares = {Task.REASON: 4.0, Task.DIRECT: 1.0}
    examples = build_examples(questions, shares, count=2000, seed=0)
    empty = Counter("<think></think>" in example.completion for example in examples)
    assert empty[True] / 2000 == pytest.approx(0.2, abs=0.04)
    assert examples == build_examples(questions, shares, count=2000, seed=0)
    assert examples != build_examples(questions, shares, count=2000, seed=1)


def test_the_loss_falls_on_the_completions_only(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    processor = build_processor(SMALL, tokenizer)
    examples = [build_example(q, task) for q, task in zip(questions[:7], TASKS, strict=True)]
    batch = Collator(processor, answer_weight=5.0)(examples)
    tokens, labels, weights = batch["input_ids"], batch["labels"], batch["weights"]
    assert weights.shape == labels.shape == tokens.shape
    assert weights[:, -1].eq(0).all()  # nothing follows the last token
    assert labels.equal(tokens.roll(-1, dims=1).where(weights > 0, torch.tensor(NOT_LEARNT)))
    for row, example in enumerate(examples):
        learnt, heavy = weights[row].roll(1) > 0, weights[row].roll(1) == 5
        assert tokenizer.decode(tokens[row][learnt]) == example.completion + tokenizer.eos_token
        decided = [example.completion[start:end] for start, end in example.decisive]
        assert tokenizer.decode(tokens[row][heavy]).replace(" ", "") == "".join(decided)
        before = tokenizer.decode(tokens[row][~learnt & batch["attention_mask"][row].bool()])
        shown = chat_prompt(processor, example.prompt, image=example.shown)
        assert before.replace("<|image_pad|>", "") == shown.replace("<|image_pad|>", "")
    assert (tokens == tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum(1).tolist() == [16] * 4 + [0] * 3


def test_a_tokenizer_that_joins_prompt_and_completion_is_refused(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    processor = build_processor(SMALL, tokenizer)
    processor.chat_template = "<|vision_start|><|image_pad|><|vision_end|>in th"  # "the" is one token
    example = replace(build_example(questions[0], Task.DESCRIBE), completion="e image")
    with pytest.raises(InvalidInputError, match="apart"):
        Collator(processor)([example])


def test_a_tokenizer_that_ends_every_text_with_a_token_of_its_own_is_refused(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    ending = copy.deepcopy(tokenizer)
    ending.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {tokenizer.eos_token}", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    with pytest.raises(InvalidInputError, match="apart"):
        Collator(build_processor(SMALL, ending))([build_example(questions[0], Task.LETTER)])

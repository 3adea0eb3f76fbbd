"""Training examples: which texts are learnt, from which prompt, and where the loss falls."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from medrobust_bench.models.prompt import AnswerMode, completion_text, parse_completion, prompt_text
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.examples import (
    DESCRIBE_PROMPT,
    IGNORED,
    Collator,
    build_example,
    build_examples,
    rationale,
    render_prompt,
)
from medrobust_bench.train.settings import Task
from tests.train.conftest import SMALL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question


def test_completions_answer_right_in_the_form_of_their_task(questions: tuple[Question, ...]) -> None:
    for question in questions:
        right = question.options[question.answer]
        reason = build_example(question, Task.REASON)
        assert reason.completion == completion_text(f"{question.explanation} {right}", question.letter)
        assert reason.prompt == prompt_text(question, AnswerMode.REASONING)
        direct = build_example(question, Task.DIRECT)
        assert direct.completion == completion_text("", question.letter)
        assert direct.prompt == reason.prompt
        for example in (reason, direct):
            assert parse_completion(example.completion, len(question.options)) == question.answer
        letter = build_example(question, Task.LETTER)
        assert (letter.prompt, letter.completion) == (
            prompt_text(question, AnswerMode.LETTER),
            question.letter,
        )
        describe = build_example(question, Task.DESCRIBE)
        assert (describe.prompt, describe.completion) == (DESCRIBE_PROMPT, question.explanation)


def test_data_without_explanations_fall_back_on_the_answer(questions: tuple[Question, ...]) -> None:
    bare = replace(questions[0], explanation="")
    right = bare.options[bare.answer]
    assert rationale(bare) == right
    assert build_example(bare, Task.DESCRIBE).completion == right


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
    examples = [build_example(q, task) for q, task in zip(questions[:4], Task, strict=True)]
    batch = Collator(processor)(examples)
    labels, tokens = batch["labels"], batch["input_ids"]
    assert labels.shape == tokens.shape
    for row, example in enumerate(examples):
        kept = labels[row] != IGNORED
        assert torch.equal(labels[row][kept], tokens[row][kept])
        assert tokenizer.decode(labels[row][kept]) == example.completion + tokenizer.eos_token
        before = tokenizer.decode(tokens[row][~kept & batch["attention_mask"][row].bool()])
        shown = render_prompt(processor, example.prompt)
        assert before.replace("<|image_pad|>", "") == shown.replace("<|image_pad|>", "")
    assert (tokens == tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum(1).tolist() == [16] * 4


def test_a_tokenizer_that_joins_prompt_and_completion_is_refused(
    questions: tuple[Question, ...], tokenizer: PreTrainedTokenizerFast
) -> None:
    processor = build_processor(SMALL, tokenizer)
    processor.chat_template = "<|im_start|><|vision_start|><|image_pad|><|vision_end|> x"
    joined = replace(build_example(questions[0], Task.LETTER), completion="ray")
    merged = tokenizer(" xray").input_ids != tokenizer(" x").input_ids + tokenizer("ray").input_ids
    if merged:
        with pytest.raises(ValueError, match="apart"):
            Collator(processor)([joined])
    else:
        assert Collator(processor)([joined])["labels"].numel()

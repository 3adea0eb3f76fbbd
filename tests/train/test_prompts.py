"""What a model in training is asked: as an evaluation asks it, once per group, and only what can be used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoProcessor

from medrobust_bench.data.image import ImageBytes
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.prompts import check_processor, prompt_rows
from tests.train.grpo import parts, recipe_of

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question


def test_prompts_are_rendered_as_an_evaluation_renders_them(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    """The date of the day is fixed, and a template that can think or not is told the same."""
    from trl.data_utils import apply_chat_template, prepare_multimodal_messages

    from medrobust_bench.train.at_grpo import AtGrpoTrainer

    recipe = recipe_of(base, attack=None)
    made = parts(recipe, tmp_path)
    processor = made["processing_class"]
    told = "{{- 'Today: ' + strftime_now('%d %b %Y') + (' thinking' if enable_thinking else '') + '\n' -}}\n"
    processor.chat_template = told + processor.chat_template

    trainer: Any = AtGrpoTrainer(questions=questions, settings=recipe, **made)
    row = trainer.train_dataset[0]
    filled = prepare_multimodal_messages(row["prompt"], images=row["images"])
    (tokens,), _, _ = trainer._tokenize_prompts([filled])
    text = STRATEGIES[recipe.mode].prompt(row["question"])
    wanted = chat_prompt(processor, text, thinks=STRATEGIES[recipe.mode].thinks)
    assert wanted.startswith("Today: 26 Jul 2024\n")
    shown = trainer.processing_class(text=[wanted], images=[row["images"]])
    assert tokens == shown["input_ids"][0]
    again = apply_chat_template({"prompt": filled}, trainer.processing_class, **trainer.chat_template_kwargs)
    assert again["prompt"] == wanted
    assert processor.chat_template.startswith(told)  # what is saved in the end is the model's own
    trainer.train()


def test_a_processor_that_pads_on_the_right_or_hides_the_tags_is_refused(base: Path) -> None:
    processor = AutoProcessor.from_pretrained(base)
    check_processor(processor, AnswerMode.REASONING)
    processor.tokenizer.padding_side = "right"
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    with pytest.raises(InvalidInputError) as caught:
        check_processor(processor, AnswerMode.REASONING)
    assert len(caught.value.problems) == 2
    assert "pads on the right" in str(caught.value)
    check_processor(AutoProcessor.from_pretrained(base), AnswerMode.LETTER)


def test_rows_are_opened_once_per_group_and_carry_the_question(
    base: Path, questions: tuple[Question, ...]
) -> None:
    processor = AutoProcessor.from_pretrained(base)
    opened = []

    class Watched:
        name = "watched"

        def open(self) -> Any:
            opened.append(1)
            return questions[0].image.open()

        def digest(self) -> str:
            return ""

    rows = prompt_rows([replace(questions[0], image=Watched()), questions[1]], AnswerMode.LETTER, processor)
    rows.__getitems__([0])  # the first time a question is asked for, it is seen whether it can be used
    opened.clear()
    batch = rows.__getitems__([0, 0, 0, 1])
    assert len(opened) == 1
    assert [row["question"].id for row in batch] == [questions[0].id] * 3 + [questions[1].id]
    assert batch[0]["prompt"][0]["content"][0] == {"type": "image"}


def test_a_question_that_cannot_be_used_gives_its_place_to_the_next(
    base: Path, questions: tuple[Question, ...]
) -> None:
    processor = AutoProcessor.from_pretrained(base)
    broken = replace(questions[0], image=ImageBytes(b"no image at all", name="broken.png"))
    told: list[dict[str, str]] = []
    rows = prompt_rows([broken, questions[1]], AnswerMode.LETTER, processor, checked=told.append)
    batch = rows.__getitems__([0, 0, 1])
    assert [row["question"].id for row in batch] == [questions[1].id] * 3
    assert [list(reasons) for reasons in told] == [[broken.id], []]
    assert told[0][broken.id]
    with pytest.raises(InvalidInputError, match="no question can be used"):
        prompt_rows([broken], AnswerMode.LETTER, processor).__getitems__([0])

"""Training examples: a question, the completion that a good model gives to it, and their tensors."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from medrobust_bench.data.image import canonical
from medrobust_bench.models.prompt import AnswerMode, completion_text, prompt_text
from medrobust_bench.train.settings import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import ProcessorMixin

    from medrobust_bench.data.question import Question

IGNORED = -100
DESCRIBE_PROMPT = "Describe the image."


@dataclass(frozen=True, slots=True)
class Example:
    """One image, the user's turn about it, and the completion to learn."""

    question: Question
    prompt: str
    completion: str


def description(question: Question) -> str:
    """What a reader sees; the right answer where nothing was written down."""
    return question.explanation or question.options[question.answer]


def rationale(question: Question) -> str:
    """What is seen, then the answer in words."""
    return f"{question.explanation} {question.options[question.answer]}".strip()


def build_example(question: Question, task: Task) -> Example:
    """The prompt and the completion that a task makes of a question."""
    if task is Task.DESCRIBE:
        return Example(question, DESCRIBE_PROMPT, description(question))
    if task is Task.LETTER:
        return Example(question, prompt_text(question, AnswerMode.LETTER), question.letter)
    thought = rationale(question) if task is Task.REASON else ""
    return Example(
        question, prompt_text(question, AnswerMode.REASONING), completion_text(thought, question.letter)
    )


def build_examples(
    questions: Sequence[Question], tasks: Mapping[Task, float], *, count: int, seed: int
) -> list[Example]:
    """Examples in random order: every question once before any comes again.

    Args:
        questions: any number of questions.
        tasks: weights of the tasks, one of which is drawn per example.
        count: number of examples.
        seed: decides order and draw.
    """
    draw = random.Random(seed)
    order: list[Question] = []
    while len(order) < count:
        order += draw.sample(questions, len(questions))
    kinds, weights = list(tasks), list(tasks.values())
    return [build_example(question, draw.choices(kinds, weights)[0]) for question in order[:count]]


def render_prompt(processor: ProcessorMixin, prompt: str) -> str:
    """The image and the user's turn in the model's chat format, up to where the model begins to write."""
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return str(rendered)


def open_images(questions: Sequence[Question]) -> list[list[Image.Image]]:
    """The canonical images, one list per prompt, as processors take them."""
    return [[Image.fromarray(canonical(question.image))] for question in questions]


@dataclass(frozen=True, slots=True)
class Collator:
    """Turns examples into a padded batch with labels on the completions only; picklable for workers."""

    processor: ProcessorMixin

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Model inputs of B examples, and `labels` [B, T] that are -100 outside the completions.

        Raises:
            ValueError: the tokenizer joins the end of a prompt with the start of its completion.
        """
        tokenizer = self.processor.tokenizer
        completions = [example.completion + tokenizer.eos_token for example in examples]
        prompts = [render_prompt(self.processor, example.prompt) for example in examples]
        batch = dict(
            self.processor(
                text=[prompt + completion for prompt, completion in zip(prompts, completions, strict=True)],
                images=open_images([example.question for example in examples]),
                padding=True,
                return_tensors="pt",
            )
        )
        tokens = batch["input_ids"]
        labels = torch.full_like(tokens, IGNORED)
        for row, completion in enumerate(completions):
            target = torch.tensor(tokenizer(completion, add_special_tokens=False).input_ids)
            if not torch.equal(tokens[row, -len(target) :], target):  # padding is on the left
                raise ValueError(f"the tokenizer does not keep prompt and completion apart: {completion!r}")
            labels[row, -len(target) :] = target
        batch["labels"] = labels
        return batch

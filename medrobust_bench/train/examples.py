"""Training examples: a question, the completion that a good model gives to it, and their tensors."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from medrobust_bench.data.image import canonical
from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.prompt import AnswerMode, completion_text, prompt_text
from medrobust_bench.train.settings import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import ProcessorMixin

    from medrobust_bench.data.question import Question

DESCRIBE_PROMPT = "Describe the image."


@dataclass(frozen=True, slots=True)
class Example:
    """One image, the user's turn about it, and the completion to learn.

    Attributes:
        question: the question; its image is shown.
        prompt: the user's turn.
        completion: what the model should write.
        answer: the end of the completion that gives the letter; empty where no question is asked.
    """

    question: Question
    prompt: str
    completion: str
    answer: str


def description(question: Question) -> str:
    """What a reader sees; the right answer where nothing was written down."""
    return question.explanation or question.options[question.answer]


def rationale(question: Question) -> str:
    """What is seen, then the options one by one until the right one: "… A) drusen: no. B) retinal fluid: yes."."""
    verdicts = [
        f"{letter}) {option}: {'yes' if index == question.answer else 'no'}."
        for index, (letter, option) in enumerate(zip(LETTERS, question.options, strict=False))
    ]
    return " ".join([question.explanation, *verdicts[: question.answer + 1]]).strip()


def build_example(question: Question, task: Task) -> Example:
    """The prompt and the completion that a task makes of a question."""
    letter = question.letter
    if task is Task.DESCRIBE:
        return Example(question, DESCRIBE_PROMPT, description(question), answer="")
    if task is Task.LETTER:
        return Example(question, prompt_text(question, AnswerMode.LETTER), letter, answer=letter)
    completion = completion_text(rationale(question) if task is Task.REASON else "", letter)
    answer = completion[completion.index("<answer>") :]
    return Example(question, prompt_text(question, AnswerMode.REASONING), completion, answer)


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
    """Turns examples into a padded batch with weights on the completions only; picklable for workers.

    Attributes:
        processor: of the model that is trained; pads on the left.
        answer_weight: weight of the tokens of the answer, relative to those of the text before it.
    """

    processor: ProcessorMixin
    answer_weight: float = 1.0

    def __call__(self, examples: Sequence[Example]) -> tuple[dict[str, Any], torch.Tensor]:
        """Model inputs of B examples, and the weight [B, T] of every token in the loss, 0 outside the completions.

        Raises:
            ValueError: the tokenizer joins the end of a prompt with the start of its completion.
        """
        tokenizer = self.processor.tokenizer
        completions = [example.completion + tokenizer.eos_token for example in examples]
        prompts = [render_prompt(self.processor, example.prompt) for example in examples]
        inputs = dict(
            self.processor(
                text=[prompt + completion for prompt, completion in zip(prompts, completions, strict=True)],
                images=open_images([example.question for example in examples]),
                padding=True,
                return_tensors="pt",
            )
        )
        tokens = inputs["input_ids"]
        weights = torch.zeros(tokens.shape)
        for row, (example, completion) in enumerate(zip(examples, completions, strict=True)):
            target = torch.tensor(tokenizer(completion, add_special_tokens=False).input_ids)
            if not torch.equal(tokens[row, -len(target) :], target):  # padding is on the left
                raise ValueError(f"the tokenizer does not keep prompt and completion apart: {completion!r}")
            weights[row, -len(target) :] = 1.0
            if example.answer:
                answer = tokenizer(example.answer + tokenizer.eos_token, add_special_tokens=False).input_ids
                weights[row, -len(answer) :] = self.answer_weight
        return inputs, weights

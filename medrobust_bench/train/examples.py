"""Training examples: a question, the completion that a good model gives to it, and their tensors."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from medrobust_bench.data.image import canonical
from medrobust_bench.data.question import LETTERS, Fact
from medrobust_bench.models.prompt import AnswerMode, completion_text, prompt_text
from medrobust_bench.train.settings import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import ProcessorMixin

    from medrobust_bench.data.question import Question

DESCRIBE_PROMPT = "Describe the image."
MATCH_ROUNDS = 2
JUDGED = 0.25
SHEET_PROMPT = "Choose from each list what is true."

_DECISIVE = re.compile(r" (?P<named>[A-E])\.</think>|<answer>(?P<letter>[A-E])")


@dataclass(frozen=True, slots=True)
class Example:
    """The user's turn and the completion to learn.

    Attributes:
        question: the question.
        shown: whether the image of the question is part of the user's turn.
        prompt: the user's turn, image aside.
        completion: what the model should write.
        decisive: where the completion names a letter; spans of characters [start, end).
        learnt: what else is learnt of the completion; everything unless given.
    """

    question: Question
    shown: bool
    prompt: str
    completion: str
    decisive: tuple[tuple[int, int], ...]
    learnt: tuple[tuple[int, int], ...] | None = None


def description(question: Question) -> str:
    """What a reader sees; the right answer where nothing was written down."""
    return question.explanation or question.options[question.answer]


def rationale(question: Question) -> str:
    """What is seen, then the answer in words and its letter: "OCT of the macula. Mild drusen. drusen B."."""
    return f"{question.explanation} {question.options[question.answer]} {question.letter}.".strip()


def build_example(question: Question, task: Task) -> Example:
    """The prompt and the completion that a task makes of a question."""
    letter = question.letter
    if task is Task.DESCRIBE:
        return Example(question, True, DESCRIBE_PROMPT, description(question), decisive=())
    if task is Task.LETTER:
        return Example(question, True, prompt_text(question, AnswerMode.LETTER), letter, decisive=((0, 1),))
    if task is Task.MATCH:
        return _match_example(question)
    if task is Task.SHEET:
        return _sheet_example(question)
    shown = task in (Task.REASON, Task.DIRECT)
    thought = rationale(question) if task in (Task.REASON, Task.READ) else ""
    prompt = prompt_text(question, AnswerMode.REASONING)
    completion = completion_text(thought, letter)
    return Example(
        question,
        shown,
        prompt if shown else f"{description(question)}\n{prompt}",
        completion,
        decisive=tuple(match.span(match.lastgroup or 0) for match in _DECISIVE.finditer(completion)),
    )


def _match_example(question: Question) -> Example:
    lettered = list(zip(LETTERS, question.options, strict=False))
    draw = random.Random(question.id)
    completion, decisive = "", []
    for _ in range(MATCH_ROUNDS):
        for letter, option in draw.sample(lettered, len(lettered)):
            completion += f" {option} {letter}."
            decisive.append((len(completion) - 2, len(completion) - 1))
    prompt = "\n".join(f"{letter}) {option}" for letter, option in lettered)
    return Example(question, False, prompt, completion, tuple(decisive))


def _sheet_example(question: Question) -> Example:
    draw = random.Random(question.id)
    facts = question.facts or (Fact(question.options[question.answer], question.options),)
    completion, decisive, verdicts = "", [], []
    for fact in draw.sample(facts, len(facts)):
        others = [choice for choice in fact.choices if choice != fact.truth]
        chosen = draw.sample(others, min(len(others), draw.choice((1, 2, 3, 3, 3, 4))))
        options = draw.sample([fact.truth, *chosen], len(chosen) + 1)
        judged = draw.random() < JUDGED
        for letter, option in zip(LETTERS, options, strict=False):
            completion += f"{letter}) {option}"
            if judged:
                verdict = " yes" if option == fact.truth else " no"
                completion += verdict
                verdicts.append((len(completion) - len(verdict), len(completion)))
            completion += "\n"
        completion += f"<answer>{LETTERS[options.index(fact.truth)]}"
        decisive.append((len(completion) - 1, len(completion)))
        completion += "</answer>\n"
    return Example(question, True, SHEET_PROMPT, completion, tuple(decisive), learnt=tuple(verdicts))


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


def render_prompt(processor: ProcessorMixin, prompt: str, *, image: bool = True) -> str:
    """The user's turn, with or without an image, in the model's chat format, up to where the model begins to write."""
    content = [{"type": "image"}] * image + [{"type": "text", "text": prompt}]
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
        answer_weight: weight of the letters, relative to the other tokens.
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
        prompts = [render_prompt(self.processor, example.prompt, image=example.shown) for example in examples]
        images = open_images([example.question for example in examples if example.shown])
        inputs = dict(
            self.processor(
                text=[prompt + completion for prompt, completion in zip(prompts, completions, strict=True)],
                images=images or None,
                padding=True,
                return_tensors="pt",
            )
        )
        tokens = inputs["input_ids"]
        weights = torch.zeros(tokens.shape)
        for row, (example, completion) in enumerate(zip(examples, completions, strict=True)):
            target = tokenizer(completion, add_special_tokens=False, return_offsets_mapping=True)
            length = len(target.input_ids)
            if tokens[row, -length:].tolist() != target.input_ids:  # padding is on the left
                raise ValueError(f"the tokenizer does not keep prompt and completion apart: {completion!r}")
            weights[row, -length:] = torch.tensor(
                [self._weight(span, example) for span in target.offset_mapping]
            )
        return inputs, weights

    def _weight(self, span: tuple[int, int], example: Example) -> float:
        if _overlaps(span, example.decisive):
            return self.answer_weight
        return float(example.learnt is None or _overlaps(span, example.learnt))


def _overlaps(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)

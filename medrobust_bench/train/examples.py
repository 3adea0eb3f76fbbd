"""Training examples: a question, the completion that a good model gives to it, and their tensors."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from medrobust_bench.data.image import canonical
from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.models.refusal import UNUSABLE, reason
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import ProcessorMixin

    from medrobust_bench.data.question import Question
    from medrobust_bench.train.exchange import Exchange

DESCRIBE_PROMPT = "Describe the image."
MATCH_ROUNDS = 2
NOT_LEARNT = -100
"""Label of a position at which nothing is learnt, as the Trainer and torch's cross-entropy know it."""
TICKS = (" No", " Yes")
"""What is said at the end of a wrong and of the right option: the last token of either word."""

_LETTER = f"[{LETTERS[0]}-{LETTERS[-1]}]"
_DECISIVE = re.compile(rf" (?P<named>{_LETTER})\.</think>|<answer>(?P<letter>{_LETTER})")


@dataclass(frozen=True, slots=True)
class Example:
    """The user's turn and the completion to learn.

    Attributes:
        question: the question.
        shown: whether the image of the question is part of the user's turn.
        prompt: the user's turn, image aside.
        completion: what the model should write.
        decisive: where the completion names a letter; spans of characters [start, end).
        ticked: the options, where the model should judge them as it reads; spans of characters of the prompt.
    """

    question: Question
    shown: bool
    prompt: str
    completion: str
    decisive: tuple[tuple[int, int], ...]
    ticked: tuple[tuple[int, int], ...] = ()


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
    if task in (Task.LETTER, Task.TICK):
        prompt = STRATEGIES[AnswerMode.LETTER].prompt(question)
        ticked = _option_lines(question) if task is Task.TICK else ()
        return Example(question, True, prompt, letter, decisive=((0, 1),), ticked=ticked)
    if task is Task.MATCH:
        return _match_example(question)
    shown = task in (Task.REASON, Task.DIRECT)
    thought = rationale(question) if task in (Task.REASON, Task.READ) else ""
    reasoning = STRATEGIES[AnswerMode.REASONING]
    prompt, completion = reasoning.prompt(question), reasoning.write(thought, letter)
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


def _option_lines(question: Question) -> tuple[tuple[int, int], ...]:
    """Where the options stand in the letter prompt: behind "B)", to the end of the line."""
    start, lines = len(question.text) + 1, []
    for letter, option in zip(LETTERS, question.options, strict=False):
        end = start + len(f"{letter}) {option}\n")
        lines.append((start + len(f"{letter})"), end))
        start = end
    return tuple(lines)


def build_examples(
    questions: Sequence[Question],
    tasks: Mapping[Task, float],
    *,
    count: int,
    seed: int,
    exchange: Exchange | None = None,
) -> list[Example]:
    """Examples in random order: every question once before any comes again.

    Args:
        questions: any number of questions.
        tasks: weights of the tasks, one of which is drawn per example.
        count: number of examples.
        seed: decides order and draw.
        exchange: draws whose image a question is asked about; None leaves it its own.
    """
    draw = random.Random(seed)
    order: list[Question] = []
    while len(order) < count:
        order += draw.sample(questions, len(questions))
    kinds, weights = list(tasks), list(tasks.values())
    examples = []
    for question in order[:count]:
        task = draw.choices(kinds, weights)[0]
        asked = question if exchange is None else exchange(question, draw.getrandbits(63))
        examples.append(build_example(asked, task))
    return examples


def open_images(questions: Sequence[Question]) -> list[list[Image.Image]]:
    """The canonical images, one list per prompt, as processors take them."""
    return [[Image.fromarray(canonical(question.image))] for question in questions]


UNFIT_REMEDY = "see whether data and base are sound: `medrobust data check`, `medrobust models check`"


def why_unusable(processor: ProcessorMixin, question: Question, mode: AnswerMode) -> str | None:
    """What keeps a model from being asked a question: its file, its image or its text; None where nothing does."""
    try:
        prompt = chat_prompt(processor, STRATEGIES[mode].prompt(question))
        processor(text=[prompt], images=open_images([question]), return_tensors="pt")
    except UNUSABLE as error:
        return reason(error)
    return None


@dataclass(frozen=True, slots=True)
class Collator:
    """Turns examples into a padded batch in which completions and ticks are learnt; picklable for workers.

    Attributes:
        processor: of the model that is trained; pads on the left.
        answer_weight: weight of the letters of the completion, relative to the other tokens.
        thinks: what a chat template that can be told to think or not is told.
    """

    processor: ProcessorMixin
    answer_weight: float = 1.0
    thinks: bool | None = None

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch of at most B examples: those that the processor can take.

        Returns:
            The model's inputs, and beside them `labels` [B, T], the token that is to follow each position, -100 where
            nothing is learnt; `weights` [B, T] of the labels in the loss; `examples`, those in the batch; and
            `skipped`, the question id of each of the others with the reason.

        Raises:
            InvalidInputError: none of the examples can be used.
        """
        try:
            return {**self.batch(examples), "examples": list(examples), "skipped": {}}
        except UNUSABLE:
            pass  # whose fault it is shows one by one
        usable, skipped = [], {}
        for example in examples:
            try:
                self.batch([example])
            except UNUSABLE as error:
                skipped[example.question.id] = reason(error)
            else:
                usable.append(example)
        if not usable:
            raise InvalidInputError([Problem(id, why, UNFIT_REMEDY) for id, why in skipped.items()])
        return {**self.batch(usable), "examples": usable, "skipped": skipped}

    def batch(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The inputs, labels and weights of B examples.

        Raises:
            ValueError: the tokenizer joins the end of a prompt, or of an option, with what comes after it.
        """
        tokenizer = self.processor.tokenizer
        prompts = [
            chat_prompt(self.processor, example.prompt, image=example.shown, thinks=self.thinks)
            for example in examples
        ]
        texts = [
            prompt + example.completion + tokenizer.eos_token
            for prompt, example in zip(prompts, examples, strict=True)
        ]
        images = open_images([example.question for example in examples if example.shown])
        inputs = dict(self.processor(text=texts, images=images or None, padding=True, return_tensors="pt"))
        tokens = inputs["input_ids"]
        verdicts = [tokenizer(text, add_special_tokens=False).input_ids[-1] for text in TICKS]
        targets, weights = tokens.roll(-1, dims=1), torch.zeros(tokens.shape)
        for row, (example, prompt, text) in enumerate(zip(examples, prompts, texts, strict=True)):
            read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            spans = read.offset_mapping
            # Padding is on the left and the image's one placeholder grows there: positions count from the right.
            ends = {end: number - len(spans) for number, (_, end) in enumerate(spans)}
            last = ends.get(len(prompt))
            if last is None or tokens[row, last + 1 :].tolist() != read.input_ids[last + 1 :]:
                raise ValueError(f"the tokenizer does not keep prompt and completion apart: {text!r}")
            decisive = [(len(prompt) + start, len(prompt) + end) for start, end in example.decisive]
            for position in range(last, -1):
                heavy = _overlaps(spans[position + 1], decisive)
                weights[row, position] = self.answer_weight if heavy else 1.0
            if not example.ticked:
                continue
            begin = prompt.rindex(example.prompt)
            lines = [(begin + start, begin + end) for start, end in example.ticked]
            if any(place not in ends for line in lines for place in line):
                raise ValueError(f"the tokenizer does not keep an option apart from its letter: {text!r}")
            _tick(
                tokens[row].tolist(),
                [(ends[start], ends[end]) for start, end in lines],
                example.question.answer,
                verdicts,
                targets[row],
                weights[row],
            )
        return {**inputs, "labels": targets.masked_fill(weights == 0, NOT_LEARNT), "weights": weights}


def _tick(
    tokens: Sequence[int],
    lines: Sequence[tuple[int, int]],
    answer: int,
    verdicts: Sequence[int],
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> None:
    """Put the ticks of one example in place.

    Args:
        tokens: of the prompt and completion, T of them.
        lines: per option, the positions of the last token before it and of its own last one.
        answer: index of the right option.
        verdicts: tokens that say no and yes.
        targets: [T], changed in place.
        weights: [T], changed in place.
    """
    options = [tokens[first + 1 : last + 1] for first, last in lines]
    for number, (first, last) in enumerate(lines):
        for position, (read, right) in enumerate(zip(options[number], options[answer], strict=False), first):
            targets[position], weights[position] = right, 1.0
            if read != right:
                break
        targets[last], weights[last] = verdicts[number == answer], 1.0


def _overlaps(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)

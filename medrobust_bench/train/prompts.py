"""Questions as TRL's GRPO takes them, and what has to hold for TRL to read them right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datasets
import torch
from PIL import Image

from medrobust_bench.data.image import canonical
from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answer_marks import opened_thought
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import chat_prompt
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.examples import UNFIT_REMEDY, why_unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.prompt import AnswerMode

_IMAGE_TOKENS = 1  # what `mm_token_type_ids` calls them
_SIDE = 64


class Rows:
    """Makes rows of a data set from question numbers, when they are asked for.

    A question that cannot be used costs one question: the next one that can takes its place.

    Args:
        questions: all questions.
        mode: how they are asked.
        processor: of the model; its chat template may begin the assistant's turn.
        checked: is told of each question, when it is first asked for, why it cannot be used: by its id, or nothing.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        mode: AnswerMode,
        processor: Any,
        checked: Callable[[dict[str, str]], None],
    ) -> None:
        self._questions = questions
        self._mode = mode
        self._processor = processor
        self._checked = checked
        self._reasons: dict[int, str | None] = {}
        strategy = STRATEGIES[mode]
        prompt = chat_prompt(processor, strategy.prompt(questions[0]), thinks=strategy.thinks)
        self._opening = opened_thought(prompt)

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Columns of these questions; a question that comes several times is drawn once."""
        numbers = [self._usable(number) for number in batch["number"]]
        images = {number: self._image(number) for number in set(numbers)}
        questions = [self._questions[number] for number in numbers]
        return {
            "prompt": [self._prompt(question) for question in questions],
            "images": [[images[number]] for number in numbers],
            "question": questions,
            "opening": [self._opening] * len(numbers),
            "clean_choice": [None] * len(numbers),
            "counterpart_choice": [None] * len(numbers),
            "paired": [False] * len(numbers),
        }

    def _usable(self, number: int) -> int:
        """This question, or the next one that the processor can take."""
        while self._reason(number) is not None:
            number = (number + 1) % len(self._questions)
            if len(self._reasons) == len(self._questions) and None not in self._reasons.values():
                raise InvalidInputError([Problem("data", "no question can be used", UNFIT_REMEDY)])
        return number

    def _reason(self, number: int) -> str | None:
        if number not in self._reasons:
            question = self._questions[number]
            why = self._reasons[number] = why_unusable(self._processor, question, self._mode)
            self._checked({} if why is None else {question.id: why})
        return self._reasons[number]

    def _prompt(self, question: Question) -> list[dict[str, Any]]:
        words = {"type": "text", "text": STRATEGIES[self._mode].prompt(question)}
        return [{"role": "user", "content": [{"type": "image"}, words]}]

    def _image(self, number: int) -> Image.Image:
        return Image.fromarray(canonical(self._questions[number].image))


def prompt_rows(
    questions: Sequence[Question],
    mode: AnswerMode,
    processor: Any,
    *,
    checked: Callable[[dict[str, str]], None] = lambda reasons: None,
) -> datasets.Dataset:
    """A data set of prompts with one row per question; images are opened when a row is read (see `Rows`)."""
    numbers = datasets.Dataset.from_dict({"number": list(range(len(questions)))})
    # The fingerprint is for a cache that is not used here; without one, all questions would be pickled to make it.
    numbers.set_format(
        "custom", transform=Rows(questions, mode, processor, checked), new_fingerprint="prompts"
    )
    return numbers


def check_processor(processor: Any, mode: AnswerMode) -> None:
    """Refuse a processor with which TRL would train on something else than it should, without a word.

    TRL pads prompts on the left by itself, but takes the token types from the processor: padded on the other
    side, they are shifted against the image tokens, and multimodal positions are wrong. And it decodes completions
    without special tokens: where the tags of the format are special, no completion ever earns a reward.

    Raises:
        InvalidInputError: everything that is wrong, together.
    """
    problems = []
    if getattr(processor, "chat_template", None) is None:
        problems.append(Problem("processor", "has no chat template", "set processor.chat_template"))
    else:
        problems += _padding_problems(processor)
    tokenizer = processor.tokenizer
    written = STRATEGIES[mode].write("x", LETTERS[0])
    read = tokenizer.decode(tokenizer(written, add_special_tokens=False).input_ids, skip_special_tokens=True)
    if read.strip() != written:
        what = f"reads {written!r} back as {read!r} when special tokens are skipped, as TRL does"
        problems.append(
            Problem("tokenizer", what, "save the tags of the format as tokens that are not special")
        )
    if problems:
        raise InvalidInputError(problems)


def _padding_problems(processor: Any) -> list[Problem]:
    if processor.tokenizer.padding_side != "left":
        remedy = 'load the processor with padding_side="left" and save it so'
        return [
            Problem("tokenizer", f"pads on the {processor.tokenizer.padding_side}, TRL on the left", remedy)
        ]
    texts = [chat_prompt(processor, text) for text in ("short", "a prompt that is longer than the other one")]
    image = Image.new("RGB", (_SIDE, _SIDE))
    inputs = processor(text=texts, images=[[image], [image]], padding=True, return_tensors="pt")
    types = inputs.get("mm_token_type_ids")
    token = getattr(processor, "image_token_id", None)
    if types is None or token is None or torch.equal(types == _IMAGE_TOKENS, inputs["input_ids"] == token):
        return []
    return [Problem("processor", "puts token types beside the image tokens", "update transformers")]

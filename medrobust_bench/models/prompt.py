"""How a question is put to a model, and how its answer is read back."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from medrobust_bench.data.question import LETTERS

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question


class AnswerMode(StrEnum):
    """How a model's answer is obtained.

    `LETTER`: the option letter with the highest next-token logit.
    `OPTION_TEXT`: the option with the highest length-normalised likelihood (OmniMedVQA's prefix score).
    `REASONING`: greedy generation of `<think>…</think><answer>B</answer>`, parsed strictly.
    """

    LETTER = "letter"
    OPTION_TEXT = "option-text"
    REASONING = "reasoning"


INSTRUCTIONS = {
    AnswerMode.LETTER: "Answer with the letter of the right option only.",
    AnswerMode.OPTION_TEXT: "Answer with the text of the right option only.",
    AnswerMode.REASONING: (
        "Think first between <think> and </think>, then give the letter of the right option "
        "between <answer> and </answer>."
    ),
}

_STRICT = re.compile(
    r"\s*<think>(?P<rationale>.*?)</think>\s*<answer>\s*(?P<letter>[A-E])\s*</answer>\s*", re.DOTALL
)


def prompt_text(question: Question, mode: AnswerMode) -> str:
    """The user's turn, image aside: question, lettered options, instruction."""
    options = "\n".join(
        f"{letter}) {option}" for letter, option in zip(LETTERS, question.options, strict=False)
    )
    return f"{question.text}\n{options}\n{INSTRUCTIONS[mode]}"


def completion_text(rationale: str, letter: str) -> str:
    """The completion of a reasoning model."""
    return f"<think>{rationale}</think><answer>{letter}</answer>"


def parse_completion(completion: str, n_options: int) -> int | None:
    """Index of the option named in a completion; None unless it is exactly one rationale and one valid letter."""
    match = _STRICT.fullmatch(completion)
    if match is None or "<think>" in match["rationale"] or "<answer>" in match["rationale"]:
        return None
    index = LETTERS.index(match["letter"])
    return index if index < n_options else None

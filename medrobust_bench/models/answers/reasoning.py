"""A rationale, then a letter: `<think>…</think><answer>B</answer>`, generated greedily and read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answer_marks import opened_thought
from medrobust_bench.models.answers.letter import letter_scorer
from medrobust_bench.models.answers.strategy import instructed
from medrobust_bench.models.read_answer import read_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.answers.letter import LetterScorer
    from medrobust_bench.models.read_answer import ReadAnswer

INSTRUCTION = (
    "Think first between <think> and </think>, then give the letter of the right option "
    "between <answer> and </answer>."
)
EMPTY_RATIONALE = "<think></think><answer>"

_LETTER = f"[{LETTERS[0]}-{LETTERS[-1]}]"
_ANSWER = re.compile(rf"(?P<before><answer>\s*){_LETTER}(?=\s*</answer>)")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The model thinks first; scores are those of the letter after an empty rationale."""

    generates = True
    thinks = True

    def prompt(self, question: Question) -> str:
        """See `AnswerStrategy`."""
        return instructed(question, INSTRUCTION)

    def scorer(
        self, tokenizer: Any, prompts: Sequence[str], questions: Sequence[Question], device: torch.device
    ) -> LetterScorer:
        """See `AnswerStrategy`."""
        bridge = EMPTY_RATIONALE.removeprefix(opened_thought(prompts[0]))
        return letter_scorer(tokenizer, prompts[0], questions, device, bridge)

    def write(self, rationale: str, letter: str) -> str:
        """See `AnswerStrategy`."""
        return f"<think>{rationale}</think><answer>{letter}</answer>"

    def read(self, completion: str, options: Sequence[str]) -> ReadAnswer:
        """Exactly one rationale and one letter, see `read_answer`."""
        return read_answer(completion, options, strict=True)

    def rewrite(
        self, completion: str, options: Sequence[str], answer: int, other: int, *, words: bool
    ) -> str:
        """See `AnswerStrategy`."""
        if words:
            named = re.compile(rf"(?<!\w){re.escape(options[answer])}(?!\w)", re.IGNORECASE)
            completion = named.sub(lambda match: _in_the_case_of(match[0], options[other]), completion)
        return _ANSWER.sub(lambda match: match["before"] + LETTERS[other], completion)


def _in_the_case_of(written: str, option: str) -> str:
    """An option capitalised where the one that it replaces begins with a capital letter."""
    return option[:1].upper() + option[1:] if written[:1].isupper() else option

"""An answer in the model's own words, generated greedily and read by documented tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrobust_bench.models.answer_marks import THOUGHTS, opened_thought
from medrobust_bench.models.answers.letter import letter_scorer
from medrobust_bench.models.answers.strategy import instructed
from medrobust_bench.models.read_answer import read_answer
from medrobust_bench.models.rewrite_answer import rewrite_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.answers.letter import LetterScorer
    from medrobust_bench.models.read_answer import ReadAnswer


@dataclass(frozen=True, slots=True)
class Generated:
    """The model answers as it likes; what it names is read, and what it leaves open is unparsed.

    Scores are those of the letter as the first word of the answer, after an empty rationale where the model thinks, and
    after the mark that it is told to put there.

    Attributes:
        instruction: what the model is told to answer with.
        pattern: a card's pattern for the answer, see `read_answer`.
        thought: a card's pattern for the rationale.
        mark: what the model is told to write right before its letter.
        thinks: whether the model thinks first; told to chat templates that listen.
    """

    instruction: str = "Answer with the letter of the right option."
    pattern: str | None = None
    thought: str | None = None
    mark: str = ""
    thinks: bool = False

    generates = True

    def prompt(self, question: Question) -> str:
        """See `AnswerStrategy`."""
        return instructed(question, self.instruction)

    def scorer(
        self, tokenizer: Any, prompts: Sequence[str], questions: Sequence[Question], device: torch.device
    ) -> LetterScorer:
        """See `AnswerStrategy`."""
        opened = opened_thought(prompts[0])
        opens, closes = next((pair for pair in THOUGHTS if pair[0] == opened), THOUGHTS[0])
        bridge = f"{'' if opened else opens}{closes}" if self.thinks or opened else ""
        bridge += self.mark or ("\n" if bridge else "")
        return letter_scorer(tokenizer, prompts[0], questions, device, bridge)

    def write(self, rationale: str, letter: str) -> str:
        """The rationale before the letter where the model thinks, else after it."""
        if self.thinks:
            opens, closes = THOUGHTS[0]
            return f"{opens}{rationale}{closes}{letter}"
        return f"{letter}\n\n{rationale}" if rationale else letter

    def read(self, completion: str, options: Sequence[str]) -> ReadAnswer:
        """See `AnswerStrategy`."""
        return read_answer(completion, options, pattern=self.pattern, thought=self.thought)

    def rewrite(
        self, completion: str, options: Sequence[str], answer: int, other: int, *, words: bool
    ) -> str:
        """See `AnswerStrategy`; a completion that does not answer with `answer` stays as it is."""
        if self.read(completion, options).choice != answer:
            return completion
        return rewrite_answer(
            completion, options, other, words=words, pattern=self.pattern, thought=self.thought
        )

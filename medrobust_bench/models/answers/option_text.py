"""The option whose text has the highest length-normalised likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.answers.strategy import instructed
from medrobust_bench.models.read_answer import UNPARSED, ReadAnswer, Tier
from medrobust_bench.models.scoring import continuation_tokens, token_log_likelihood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.answers.strategy import Look, TextBatch


@dataclass(frozen=True, slots=True)
class OptionText:
    """The model is asked for the text of an option; the likeliest text per token is the answer (OmniMedVQA).

    Attributes:
        instruction: what the model is told to answer with.
    """

    instruction: str = "Answer with the text of the right option only."

    generates = False
    thinks = False

    def prompt(self, question: Question) -> str:
        """See `AnswerStrategy`."""
        return instructed(question, self.instruction)

    def scorer(
        self, tokenizer: Any, prompts: Sequence[str], questions: Sequence[Question], device: torch.device
    ) -> OptionTextScorer:
        """See `AnswerStrategy`."""
        return OptionTextScorer(
            tuple(
                tuple(tuple(continuation_tokens(tokenizer, prompt, option)) for option in question.options)
                for question, prompt in zip(questions, prompts, strict=True)
            )
        )

    def write(self, rationale: str, letter: str) -> str:
        """Not possible: the letter says nothing about the option's text."""
        raise NotImplementedError("models that answer with the text of an option are scored, not trained")

    def read(self, completion: str, options: Sequence[str]) -> ReadAnswer:
        """The option of which a completion is exactly the text."""
        text = completion.strip()
        if text not in options:
            return UNPARSED
        start = completion.index(text)
        return ReadAnswer(choice=options.index(text), tier=Tier.TEXT, span=(start, start + len(text)))

    def rewrite(
        self, completion: str, options: Sequence[str], answer: int, other: int, *, words: bool
    ) -> str:
        """The other option's text."""
        return options[other]


@dataclass(frozen=True, slots=True)
class OptionTextScorer:
    """Scores options by the mean log-likelihood per token of their texts.

    Attributes:
        texts: per question and option the tokens of the option's text.
    """

    texts: tuple[tuple[tuple[int, ...], ...], ...]

    def select(self, rows: Sequence[int]) -> OptionTextScorer:
        """See `OptionScorer`."""
        return OptionTextScorer(tuple(self.texts[row] for row in rows))

    def scores(self, text: TextBatch, look: Look) -> torch.Tensor:
        """All options of all questions in one forward pass, with one copy of the image for each."""
        copies = [row for row, options in enumerate(self.texts) for _ in options]
        tokens, real = text.pad([tokens for options in self.texts for tokens in options])
        logits = text.select(copies).continuation_logits(look(copies), tokens, real)[:, :-1]
        likelihood = token_log_likelihood(logits, tokens).masked_fill(~real, 0.0).sum(1) / real.sum(1)
        counts = [len(options) for options in self.texts]
        return pad_sequence(list(torch.split(likelihood, counts)), batch_first=True, padding_value=-torch.inf)

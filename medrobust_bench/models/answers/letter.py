"""The option letter with the highest next-token logit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answers.strategy import instructed
from medrobust_bench.models.read_answer import UNPARSED, ReadAnswer, Tier
from medrobust_bench.models.scoring import letter_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.answers.strategy import Look, TextBatch

USUAL = 5
"""Letters that a tokenizer must tell apart in any case; a question with more options needs more."""

_ONLY_A_LETTER = re.compile(rf"\s*([{LETTERS[0]}-{LETTERS[-1]}])\s*")


@dataclass(frozen=True, slots=True)
class Letter:
    """The model is asked for a letter only; the likeliest letter is the answer.

    Attributes:
        instruction: what the model is told to answer with.
    """

    instruction: str = "Answer with the letter of the right option only."

    generates = False
    thinks = False

    def prompt(self, question: Question) -> str:
        """See `AnswerStrategy`."""
        return instructed(question, self.instruction)

    def scorer(
        self, tokenizer: Any, prompts: Sequence[str], questions: Sequence[Question], device: torch.device
    ) -> LetterScorer:
        """See `AnswerStrategy`."""
        return letter_scorer(tokenizer, prompts[0], questions, device, "")

    def write(self, rationale: str, letter: str) -> str:
        """The letter; there is no place for a rationale."""
        return letter

    def read(self, completion: str, options: Sequence[str]) -> ReadAnswer:
        """The option of a completion that is nothing but one valid letter."""
        match = _ONLY_A_LETTER.fullmatch(completion)
        choice = None if match is None else valid_option(match[1], len(options))
        if match is None or choice is None:
            return UNPARSED
        return ReadAnswer(choice=choice, tier=Tier.LETTER, span=match.span(1))

    def rewrite(
        self, completion: str, options: Sequence[str], answer: int, other: int, *, words: bool
    ) -> str:
        """The other letter."""
        return LETTERS[other]


@dataclass(frozen=True, slots=True, eq=False)
class LetterScorer:
    """Scores options by the letter that would come next.

    Attributes:
        leads: per question the tokens that stand between its prompt and its letter.
        letters: [B, K, S] token ids of the S spellings of every option's letter.
        known: [B, K, S] bool, False where a question has fewer options, or fewer spellings.
    """

    leads: tuple[tuple[int, ...], ...]
    letters: torch.Tensor
    known: torch.Tensor

    def select(self, rows: Sequence[int]) -> LetterScorer:
        """See `OptionScorer`."""
        index = torch.tensor(rows, device=self.known.device)
        known = self.known[index]
        options = int(known.any(2).sum(1).amax())
        return LetterScorer(
            tuple(self.leads[row] for row in rows), self.letters[index, :options], known[:, :options]
        )

    def scores(self, text: TextBatch, look: Look) -> torch.Tensor:
        """Logit of each letter; the spellings of a letter are alternatives, so their probabilities add."""
        if any(self.leads):
            leads, real = text.pad(self.leads)
            logits = text.continuation_logits(look(None), leads, real)
            logits = logits[torch.arange(len(leads), device=logits.device), real.sum(1)]
        else:
            logits = text.next_token_logits(look(None))
        missing = ~self.known.any(2)
        spelled = logits.float().gather(1, self.letters.flatten(1)).view(self.letters.shape)
        spelled = spelled.masked_fill(~self.known & ~missing.unsqueeze(2), -torch.inf)
        return spelled.logsumexp(2).masked_fill(missing, -torch.inf)


def letter_scorer(
    tokenizer: Any, prompt: str, questions: Sequence[Question], device: torch.device, bridge: str
) -> LetterScorer:
    """The scorer of letters that come after a prompt, or after a text that follows it.

    Args:
        tokenizer: the model's.
        prompt: any of the rendered prompts; they all end alike.
        questions: B questions.
        device: the model's.
        bridge: what the model is made to write before the letter.

    Raises:
        UnreadableLettersError: the tokenizer does not tell the letters of a question apart.
    """
    counts = [len(question.options) for question in questions]
    # What a question's letters are must not depend on its company: by its own number of options.
    known = {
        needed: letter_tokens(tokenizer, prompt, bridge, needed=needed)
        for needed in {max(USUAL, count) for count in counts}
    }
    found = [known[max(USUAL, count)] for count in counts]
    shape = len(counts), max(counts), max(letters.shape[1] for _, letters in found)
    padded, real = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    for row, ((_, letters), count) in enumerate(zip(found, counts, strict=True)):
        padded[row, :count, : letters.shape[1]] = letters[:count]
        real[row, :count, : letters.shape[1]] = True
    return LetterScorer(tuple(tuple(lead) for lead, _ in found), padded.to(device), real.to(device))


def valid_option(letter: str, n_options: int) -> int | None:
    """Index of the option of this letter; None where there is none."""
    index = LETTERS.index(letter)
    return index if index < n_options else None

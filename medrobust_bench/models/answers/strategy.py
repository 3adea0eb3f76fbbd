"""What evaluation and training ask of an answer mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from medrobust_bench.models.prompt import lettered_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.read_answer import ReadAnswer

    Features = dict[str, Any]
    Look = Callable[[Sequence[int] | None], Features]
    """Image inputs of the model for these rows of a batch, with repetitions; None: every row once."""


class TextBatch(Protocol):
    """The text side of B bound questions, as far as scoring options needs it."""

    def select(self, rows: Sequence[int]) -> TextBatch:
        """These rows only."""
        ...

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token rows of unequal length as [R, N] ids, and [R, N] bool that tells tokens from padding."""
        ...

    def next_token_logits(self, features: Features) -> torch.Tensor:
        """Logits [B, V] of the token after the prompt."""
        ...

    def continuation_logits(
        self, features: Features, tokens: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Logits [B, N + 1, V] of each of N tokens after the prompt (padded right), and of the token after them."""
        ...


class OptionScorer(Protocol):
    """Scores the options of B questions, whose texts it has tokenised."""

    def select(self, rows: Sequence[int]) -> OptionScorer:
        """The scorer of these rows only."""
        ...

    def scores(self, text: TextBatch, look: Look) -> torch.Tensor:
        """Scores [B, K] float32 of the options, -inf where a question has fewer."""
        ...


class AnswerStrategy(Protocol):
    """One way to obtain an answer; has no state."""

    @property
    def generates(self) -> bool:
        """Whether the answer is generated text that is read, rather than the option of highest score."""
        ...

    @property
    def thinks(self) -> bool:
        """What a chat template that can be told to think or not is told."""
        ...

    def prompt(self, question: Question) -> str:
        """The user's turn, image aside: question, lettered options, instruction."""
        ...

    def scorer(
        self, tokenizer: Any, prompts: Sequence[str], questions: Sequence[Question], device: torch.device
    ) -> OptionScorer:
        """Tokenise what is scored after these rendered prompts."""
        ...

    def write(self, rationale: str, letter: str) -> str:
        """A completion that answers with this letter."""
        ...

    def read(self, completion: str, options: Sequence[str]) -> ReadAnswer:
        """Which option a completion answers with, and by which rule; none where it cannot be told without guessing."""
        ...

    def rewrite(
        self, completion: str, options: Sequence[str], answer: int, other: int, *, words: bool
    ) -> str:
        """A completion that answers with option `answer`, as it would read had the model meant option `other`.

        Args:
            completion: what the model wrote.
            options: the question's options.
            answer: the option that it meant.
            other: the option that it should mean.
            words: exchange the option wherever the completion names it, not only where the answer is given.
        """
        ...


def instructed(question: Question, instruction: str) -> str:
    """Question, lettered options and what to answer with."""
    return f"{question.text}\n{lettered_options(question)}\n{instruction}"

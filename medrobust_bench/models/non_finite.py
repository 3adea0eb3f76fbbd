"""Logits that are no numbers: a fault of the question, never an answer.

Of NaN, `argmax` makes the first option: a model that overflows in float16 would be half right, and perfectly robust.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessor

from medrobust_bench.models.question_error import QuestionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.data.question import Question


class NonFiniteLogitsError(QuestionError):
    """The model's logits are NaN or infinite for a question.

    Attributes:
        questions: ids of the questions at fault.
    """

    def __init__(self, questions: Sequence[str]) -> None:
        self.questions = tuple(dict.fromkeys(questions))
        super().__init__(f"the model's logits are NaN or infinite for {', '.join(self.questions)}")


class NonFiniteRowsError(ValueError):
    """The model's logits are NaN or infinite for some rows of a batch.

    Attributes:
        rows: which.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = tuple(rows)
        super().__init__(f"the model's logits are NaN or infinite in rows {self.rows}")


@contextmanager
def naming(questions: Sequence[Question]) -> Iterator[None]:
    """Inside it, rows of a batch at fault are told as the questions that they are."""
    try:
        yield
    except NonFiniteRowsError as error:
        raise NonFiniteLogitsError([questions[row].id for row in error.rows]) from error


def refuse_non_finite(
    logits: torch.Tensor, questions: Sequence[Question], real: torch.Tensor | None = None
) -> None:
    """Refuse predictions that are none; single tokens may be ruled out (-inf).

    Args:
        logits: [B, V] or [B, N, V].
        questions: B questions.
        real: [B, N] bool, where the prediction counts; None: everywhere.

    Raises:
        NonFiniteLogitsError: naming the questions.
    """
    sound = torch.isfinite(logits.detach().amax(-1))  # of a row with a NaN, the maximum is NaN
    if real is not None:
        sound = sound | ~real
    if not sound.all():
        rows = (~sound.flatten(1)).any(1) if sound.ndim > 1 else ~sound
        raise NonFiniteLogitsError([questions[row].id for row in rows.nonzero().flatten().tolist()])


class FiniteWatch(LogitsProcessor):  # type: ignore[misc]
    """Looks at the logits of every token that is generated, and changes none.

    Attributes:
        sound: [B] bool, whether all of a row's were finite; None before the first token.
    """

    def __init__(self) -> None:
        self.sound: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`."""
        now = torch.isfinite(scores.amax(-1))
        self.sound = now if self.sound is None else self.sound & now
        return scores

    def rows(self) -> list[int]:
        """The rows of which some logits were not finite."""
        return [] if self.sound is None else (~self.sound).nonzero().flatten().tolist()

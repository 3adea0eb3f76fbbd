"""Questions bound to a model behind a server: scores without gradients, and answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.adapter import Answer, Batch, NoScoresError
from medrobust_bench.models.endpoint.chat import Prompt
from medrobust_bench.models.pixels import to_images
from medrobust_bench.records import AnswerKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.endpoint.chat import Chat, EndpointAnswer


@dataclass(frozen=True, slots=True)
class EndpointQuestions:
    """B questions for a server's model.

    Attributes:
        chat: the model.
        batch: the questions and their images.
        prompts: what is asked.
    """

    chat: Chat
    batch: Batch
    prompts: tuple[Prompt, ...]

    generation = None

    @classmethod
    def bind(
        cls,
        chat: Chat,
        questions: Sequence[Question],
        images: Sequence[NDArray[np.uint8]],
        words: Callable[[Question], str],
    ) -> EndpointQuestions:
        """Bind questions to their canonical images of one shape; `words` is the user's turn, a strategy's `prompt`."""
        prompts = tuple(Prompt(words(question), question.options) for question in questions)
        return cls(chat, Batch(tuple(questions), tuple(images)), prompts)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B, K] of the option letters, on the images rounded to 8 bits; without gradients.

        Raises:
            NoScoresError: the server gives none, or none of an option's letter.
        """
        answers = self.chat.ask(self.prompts, to_images(pixels)) if self.chat.gives_letters else []
        rows = [answer.scores for answer in answers if answer.scores is not None]
        if len(rows) < len(self.prompts):
            raise NoScoresError(
                f"{self.chat.client.settings.base_url} gives no log-probabilities of option letters: "
                "only threats that look at answers alone can run"
            )
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-torch.inf)

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """See `BoundQuestions`; every question is a request of its own, so it is exact as far as the server is."""
        return [_answer(answer) for answer in self.chat.ask(self.prompts, images)]

    def afresh(self) -> EndpointQuestions:
        """See `Remembering`: the server is asked once more."""
        return replace(self, chat=self.chat.afresh())

    def select(self, rows: Sequence[int]) -> EndpointQuestions:
        """See `BoundQuestions`."""
        return replace(self, batch=self.batch.rows(rows), prompts=tuple(self.prompts[row] for row in rows))


def _answer(given: EndpointAnswer) -> Answer:
    """An answer as the rest of the program knows it: one by letter has no text, and no kind unless it was refused."""
    if given.scores is not None and given.kind is not AnswerKind.REFUSED:
        return Answer(given.choice)
    return Answer(given.choice, given.text, given.kind, given.tier)

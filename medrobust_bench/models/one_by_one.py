"""Questions of a model whose batches disturb each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.adapter import CompletionLogits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, Batch
    from medrobust_bench.models.bound import HuggingFaceGeneration, HuggingFaceQuestions


@dataclass(frozen=True, slots=True)
class OneByOne:
    """B questions that each stay a batch of their own.

    Attributes:
        parts: one bound question each.
    """

    parts: tuple[HuggingFaceQuestions, ...]

    @property
    def batch(self) -> Batch:
        """See `BoundQuestions`."""
        return replace(
            self.parts[0].batch,
            questions=tuple(part.batch.questions[0] for part in self.parts),
            images=tuple(part.batch.images[0] for part in self.parts),
        )

    @property
    def generation(self) -> GenerationOneByOne | None:
        """See `BoundQuestions`."""
        parts = [generation for part in self.parts if (generation := part.generation)]
        return GenerationOneByOne(tuple(parts)) if parts else None

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions`; one forward pass per question."""
        images = pixels.unsqueeze(1)
        scores = [part.scores(image)[0] for part, image in zip(self.parts, images, strict=True)]
        return pad_sequence(scores, batch_first=True, padding_value=-torch.inf)

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """See `BoundQuestions`; always exact."""
        return [part.answer([image])[0] for part, image in zip(self.parts, images, strict=True)]

    def select(self, rows: Sequence[int]) -> OneByOne:
        """See `BoundQuestions`."""
        return OneByOne(tuple(self.parts[row] for row in rows))

    def afresh(self) -> OneByOne:
        """See `Remembering`."""
        return OneByOne(tuple(part.afresh() for part in self.parts))

    def upcast(self) -> OneByOne | None:
        """See `HalfPrecision`."""
        parts = [precise for part in self.parts if (precise := part.upcast())]
        return OneByOne(tuple(parts)) if parts else None


@dataclass(frozen=True, slots=True)
class GenerationOneByOne:
    """See `Generation`.

    Attributes:
        parts: of one question each.
    """

    parts: tuple[HuggingFaceGeneration, ...]

    def clean(self) -> list[list[int]]:
        """See `Generation`."""
        return [part.clean()[0] for part in self.parts]

    def tokens(self, row: int, completion: str) -> list[int]:
        """See `Generation`."""
        return self.parts[row].tokens(0, completion)

    def text(self, row: int, tokens: Sequence[int]) -> str:
        """See `Generation`."""
        return self.parts[row].text(0, tokens)

    def rewrite(self, row: int, completion: str, option: int, *, words: bool) -> str:
        """See `Generation`."""
        return self.parts[row].rewrite(0, completion, option, words=words)

    def logits(self, pixels: torch.Tensor, completions: Sequence[Sequence[int]]) -> CompletionLogits:
        """See `Generation`; one forward pass per question."""
        each = [
            part.logits(image, [tokens])
            for part, image, tokens in zip(self.parts, pixels.unsqueeze(1), completions, strict=True)
        ]
        longest = max(map(len, completions))
        return CompletionLogits(
            *(
                torch.cat(
                    [
                        pad(value, (0, 0) * (value.ndim - 2) + (0, longest - value.shape[1]))
                        for value in column
                    ]
                )
                for column in zip(*each, strict=True)
            )
        )

"""What every model looks like to the rest of the program.

A model is bound to a batch of questions once; from then on the batch is a function of pixels only. The model gives
scores, answers and, where it writes, the logits of what is written. What an attack makes of them is the attack's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

import torch

from medrobust_bench.models.pixels import to_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import AnswerKind, ModelRecord, Tier


CPU = torch.device("cpu")


class NoScoresError(ValueError):
    """A model that gives no scores of options, as some servers do, or none for a question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A deployed answer.

    Attributes:
        choice: index of the chosen option; None when the output could not be parsed, which counts as wrong.
        text: what the model generated; empty where options are compared by likelihood.
        kind: what the generated answer was, read or not; None where options are compared by likelihood.
        tier: the rule by which it was read; None as well where it was not generated.
    """

    choice: int | None
    text: str = ""
    kind: AnswerKind | None = None
    tier: Tier | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """B questions whose canonical images have the same height and width.

    Attributes:
        questions: B questions.
        images: their clean canonical images, B arrays uint8 [H, W, 3].
        device: where pixels are best kept: the model's device.
        tolerance: below this difference of two scores (or logits), the differentiable path and the deployed one may
            prefer different options (or tokens).
    """

    questions: tuple[Question, ...]
    images: tuple[NDArray[np.uint8], ...]
    device: torch.device = CPU
    tolerance: float = 0.0

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def answers(self) -> list[int]:
        """The right options."""
        return [question.answer for question in self.questions]

    @cached_property
    def right(self) -> torch.Tensor:
        """The right options, [B] on the model's device."""
        with torch.inference_mode(False):  # a gradient may need it later, whoever asks first
            return torch.tensor(self.answers, device=self.device)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every image."""
        height, width, _ = self.images[0].shape
        return height, width

    def pixels(self) -> torch.Tensor:
        """The clean images as [B, 3, H, W] float32 in [0, 1] on the model's device."""
        return to_pixels(self.images, self.device)

    def rows(self, rows: Sequence[int]) -> Batch:
        """These questions only, in this order; repetitions are allowed."""
        return replace(
            self,
            questions=tuple(self.questions[row] for row in rows),
            images=tuple(self.images[row] for row in rows),
        )


class CompletionLogits(NamedTuple):
    """What a model predicts, position by position, while it is made to repeat B completions.

    Attributes:
        tokens: [B, N] token ids of the completions, padded on the right.
        real: [B, N] bool, False at the padding.
        logits: [B, N, V] float32, the prediction of each token; differentiable in the pixels.
    """

    tokens: torch.Tensor
    real: torch.Tensor
    logits: torch.Tensor


class Generation(Protocol):
    """How a bound batch whose answers are generated text scores what is written."""

    def clean(self) -> list[list[int]]:
        """Tokens of the B completions that the deployed model writes on the clean images, their ends included."""
        ...

    def tokens(self, row: int, completion: str) -> list[int]:
        """Tokens of a completion as they follow the prompt of question `row`."""
        ...

    def text(self, row: int, tokens: Sequence[int]) -> str:
        """The completion that these tokens spell, as `Answer.text` gives it."""
        ...

    def rewrite(self, row: int, completion: str, option: int, *, words: bool) -> str:
        """A completion that means the right option, as it would read had it meant another one.

        Args:
            row: of the question.
            completion: what the model wrote.
            option: index of the option that it should mean.
            words: exchange the option wherever the completion names it, not only where the answer is given.
        """
        ...

    def logits(self, pixels: torch.Tensor, completions: Sequence[Sequence[int]]) -> CompletionLogits:
        """Score B completions (token ids) on images [B, 3, H, W] in [0, 1], all positions at once."""
        ...


class BoundQuestions(Protocol):
    """B questions bound to a model."""

    @property
    def batch(self) -> Batch:
        """The questions, their clean images, and where pixels are kept."""
        ...

    @property
    def generation(self) -> Generation | None:
        """None where the answer is the option of highest score; else how what is written is scored."""
        ...

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores of the options as a function of pixels alone.

        Args:
            pixels: [B, 3, H, W] float in [0, 1], canonical space.

        Returns:
            [B, K] float32 with K the largest number of options in the batch, -inf where a question has fewer;
            differentiable in `pixels`. For a reasoning model: the answer letter after an empty rationale.

        Raises:
            NoScoresError: the model gives none.
        """
        ...

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """The deployed path: unmodified processor on 8-bit images.

        Args:
            images: B arrays uint8 [H, W, 3] of the bound shape, clean or changed.
            exact: every question as if it were asked alone. Otherwise all are answered at once, many times faster, and
                now and then differently where two tokens are nearly equally likely: for counting answers to noise and
                for steering a search, not for verdicts.
        """
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """The bound batch of these rows only, in this order, repetitions allowed; cheap."""
        ...


class Adapter(Protocol):
    """A model that answers multiple-choice questions about images."""

    @property
    def record(self) -> ModelRecord:
        """What results say about this model: id, revision, weight digest, dtype, answer mode."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether gradients reach the pixels; where not, only gradient-free threats can run."""
        ...

    def bind(self, questions: Sequence[Question]) -> BoundQuestions:
        """Tokenise the prompts of questions whose canonical images share one shape."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """Bound questions that remember what was generated, so that nothing is generated twice."""

    def afresh(self) -> BoundQuestions:
        """The same questions with nothing remembered."""
        ...


def afresh(bound: BoundQuestions) -> BoundQuestions:
    """Bound questions that answer anew whatever they were asked before; a random model may answer differently."""
    return bound.afresh() if isinstance(bound, Remembering) else bound


@runtime_checkable
class Recalling(Protocol):
    """Bound questions that can be told what their model wrote on the clean images in an earlier process."""

    def written(self) -> list[list[int] | None]:
        """Tokens of the B completions on the clean images, as far as they were generated."""
        ...

    def recall(self, completions: Mapping[int, tuple[Sequence[int], str]]) -> None:
        """Take completions as written, by position: tokens and text; those that do not spell their text are not."""
        ...


@runtime_checkable
class Prompting(Protocol):
    """A model whose whole input is a text that can be shown."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual in how questions are put to it, one sentence each."""
        ...

    def render(self, question: Question) -> str:
        """The whole model input of a question, up to where the model begins to write."""
        ...


@runtime_checkable
class HalfPrecision(Protocol):
    """Bound questions of a model whose weights may be too coarse for good gradients.

    It is the batch that is converted, not the adapter, so that what is known about it (completions on the clean images)
    need not be found a second time, and so that wrappers can pass it on in one line.
    """

    def upcast(self) -> BoundQuestions | None:
        """The same questions, scores and gradients in float32, answers still those of the deployed model.

        None where the model computes in float32 or better already.
        """
        ...


def in_full_precision(bound: BoundQuestions) -> BoundQuestions | None:
    """Bound questions with gradients in float32; None where theirs are no coarser, or cannot be had finer."""
    return bound.upcast() if isinstance(bound, HalfPrecision) else None

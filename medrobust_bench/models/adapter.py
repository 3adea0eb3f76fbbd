"""What every model looks like to the rest of the program.

A model is bound to a batch of questions once; from then on the batch is a function of pixels only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import ModelRecord


@dataclass(frozen=True, slots=True)
class Answer:
    """A deployed answer.

    Attributes:
        choice: index of the chosen option; None when the output could not be parsed, which counts as wrong.
        text: what the model generated; empty where options are compared by likelihood.
    """

    choice: int | None
    text: str = ""


class ReferenceLoss(NamedTuple):
    """How far the model is from leaving its reference answer.

    Attributes:
        nll: [B], differentiable in the pixels: negative log-likelihood (nats) of the reference answer, which
            an attack maximises.
        doubt: [B] bool: False only where the deployed answer is certainly still the reference one, up to the
            gap between the float path and the official 8-bit path.
        left: [B] bool: True where the float path has left the reference answer (for a reasoning model: where it
            would write another completion).
    """

    nll: torch.Tensor
    doubt: torch.Tensor
    left: torch.Tensor


class RivalLeads(NamedTuple):
    """How far each wrong option is ahead of the right one.

    Attributes:
        leads: [B, K] in nats, differentiable in the pixels; -inf at the right option and at missing ones. An
            attack succeeds on the float path where one of them is positive.
        doubt: as in `ReferenceLoss`.
        left: as in `ReferenceLoss`.
    """

    leads: torch.Tensor
    doubt: torch.Tensor
    left: torch.Tensor


class Focus(StrEnum):
    """Where in a generated completion rival options are compared; without meaning where options are scored.

    `WORDS`: the first token that would differ if the model had meant the other option: the answer in words where
    the rationale names it, else the letter.
    `LETTER`: the answer letter after the rationale that the model wrote on the clean image.
    `RESAMPLED`: the answer letter after the rationale that it last wrote on an image of the attack.
    """

    WORDS = "words"
    LETTER = "letter"
    RESAMPLED = "resampled"


class BoundQuestions(Protocol):
    """B questions whose canonical images have the same height and width."""

    questions: tuple[Question, ...]

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """The clean canonical images, B arrays [H, W, 3]."""
        ...

    @property
    def device(self) -> torch.device:
        """Where pixels are best kept: the model's device."""
        ...

    @property
    def generates(self) -> bool:
        """Whether answers are generated text, parsed, rather than the option of highest score."""
        ...

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores of the options as a function of pixels alone.

        Args:
            pixels: [B, 3, H, W] float in [0, 1], canonical space.

        Returns:
            [B, K] float32 with K the largest number of options in the batch, -inf where a question has fewer;
            differentiable in `pixels`. For a reasoning model: the answer letter after an empty rationale.
        """
        ...

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """Loss that an untargeted attack maximises.

        Args:
            pixels: [B, 3, H, W] float in [0, 1].
            answers: B option indices that the model gives on the clean images and should leave. A model that
                scores options takes the cross-entropy of `option_logits`; a reasoning model takes the
                likelihood of the whole completion that it generated on the clean image.
        """
        ...

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """How far the wrong options are ahead, for margin and targeted losses.

        A model that scores options compares `option_logits`. A reasoning model is made to repeat a completion of
        its own, and its next-token logits are compared where `focus` says.

        Args:
            pixels: [B, 3, H, W] float in [0, 1].
            answers: B right options, which the model gives on the clean images.
            focus: where completions are compared.
            said: B completions that the model wrote lately, "" for the one on the clean image; used with
                `Focus.RESAMPLED`.
        """
        ...

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """The deployed path: unmodified processor on 8-bit images, one question at a time.

        Args:
            images: B arrays uint8 [H, W, 3] of the bound shape, clean or tampered with.
        """
        ...

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """Like `answer`, but generated for all images at once where the model bears it.

        Many times faster, and now and then another answer where two tokens are nearly equally likely. It is for
        counting answers to noise, not for verdicts.
        """
        ...

    def select(self, rows: Sequence[int]) -> BoundQuestions:
        """The bound batch of these rows only, in this order; cheap."""
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
class HalfPrecision(Protocol):
    """An adapter whose weights may be too coarse for good gradients."""

    def upcast(self) -> Adapter | None:
        """The same model, losses and gradients in float32, answers still those of the model as it is deployed.

        None where the model computes in float32 or better already.
        """
        ...

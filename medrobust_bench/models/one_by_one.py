"""Questions of a model whose batches disturb each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.adapter import Focus, ReferenceLoss, RivalLeads

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer
    from medrobust_bench.models.bound import HuggingFaceQuestions


class OneByOne:
    """B questions that each stay a batch of their own, for models whose batches disturb each other."""

    def __init__(self, parts: Sequence[HuggingFaceQuestions]) -> None:
        self.parts = tuple(parts)
        self.questions = tuple(question for part in parts for question in part.questions)

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """The clean canonical images, B arrays [H, W, 3]."""
        return [image for part in self.parts for image in part.images]

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self.parts[0].device

    @property
    def generates(self) -> bool:
        """As `BoundQuestions.generates`."""
        return self.parts[0].generates

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """As `BoundQuestions.option_logits`, one forward pass per question."""
        scores = [
            part.option_logits(image)[0] for part, image in zip(self.parts, _singles(pixels), strict=True)
        ]
        return pad_sequence(scores, batch_first=True, padding_value=-torch.inf)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """As `BoundQuestions.reference_loss`, one forward pass per question."""
        losses = [
            part.reference_loss(image, [answer])
            for part, image, answer in zip(self.parts, _singles(pixels), answers, strict=True)
        ]
        return ReferenceLoss(*(torch.cat(column) for column in zip(*losses, strict=True)))

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """As `BoundQuestions.rival_leads`, one forward pass per question."""
        parts = [
            part.rival_leads(image, [answer], focus=focus, said=[text])
            for part, image, answer, text in zip(
                self.parts, _singles(pixels), answers, said or [""] * len(answers), strict=True
            )
        ]
        return RivalLeads(
            leads=pad_sequence([part.leads[0] for part in parts], batch_first=True, padding_value=-torch.inf),
            doubt=torch.cat([part.doubt for part in parts]),
            left=torch.cat([part.left for part in parts]),
        )

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """As `BoundQuestions.answer`."""
        return [part.answer([image])[0] for part, image in zip(self.parts, images, strict=True)]

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """As `answer`; see `BoundQuestions.answer_together`."""
        return self.answer(images)

    def select(self, rows: Sequence[int]) -> OneByOne:
        """As `BoundQuestions.select`."""
        return OneByOne([self.parts[row] for row in rows])


def _singles(pixels: torch.Tensor) -> list[torch.Tensor]:
    """[B, 3, H, W] as B batches of one."""
    return [image.unsqueeze(0) for image in pixels.unbind(0)]

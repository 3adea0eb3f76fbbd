"""A smoothed model: any adapter that answers what its model says most often under Gaussian noise.

It can be attacked and ranked like any other. A certificate of the plain model at the same σ is a promise about
this one.
"""

from __future__ import annotations

import hashlib
from math import log
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from medrobust_bench.certify.cohen import SmoothedQuestion
from medrobust_bench.models.adapter import Answer, Focus, ReferenceLoss, RivalLeads
from medrobust_bench.models.delegated import DelegatedQuestions
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions
    from medrobust_bench.records import ModelRecord, Smoothing

EXPECTATION_DRAWS = 8
"""Noisy images per loss and gradient that an attack sees (expectation over transformation, Athalye et al. 2018)."""


class SmoothedVLM:
    """The smoothed form of an adapter's model.

    Args:
        base: the plain model.
        smoothing: noise, draws per answer, and when to abstain.
        id: what results call the smoothed model; unset, what they call the plain one.
        expectation_draws: noisy images per loss and gradient.
    """

    def __init__(
        self,
        base: Adapter,
        smoothing: Smoothing,
        *,
        id: str | None = None,
        expectation_draws: int = EXPECTATION_DRAWS,
    ) -> None:
        self.base = base
        self.smoothing = smoothing
        self._id = id
        self._expectation_draws = expectation_draws

    @property
    def record(self) -> ModelRecord:
        """That of the plain model, with its smoothing."""
        changes: dict[str, object] = {"smoothing": self.smoothing}
        return self.base.record.model_copy(
            update=changes if self._id is None else {**changes, "id": self._id}
        )

    @property
    def differentiable(self) -> bool:
        """As the plain model."""
        return self.base.differentiable

    def bind(self, questions: Sequence[Question]) -> SmoothedQuestions:
        """Tokenise the prompts of questions whose canonical images share one shape."""
        return SmoothedQuestions(self.base.bind(questions), self.smoothing, self._expectation_draws)


class SmoothedQuestions(DelegatedQuestions):
    """B questions bound to a smoothed model.

    **Answers** are PREDICT of Cohen et al. (2019): the most frequent of n answers under noise, or an abstention,
    which counts as unparsable. The noise of an answer is drawn from question and image together: the same image
    is always answered alike, so that a witness can be checked, yet an attack cannot learn the noise that its next
    image will meet.

    **Losses and scores**, which an attack differentiates, are averages over other draws of the same noise, the
    same at every step: a function of the pixels only.

    Args:
        bound: B questions bound to the plain model.
        smoothing: see `SmoothedVLM`.
        expectation_draws: noisy images per loss and gradient.
    """

    def __init__(self, bound: BoundQuestions, smoothing: Smoothing, expectation_draws: int) -> None:
        super().__init__(bound)
        self._smoothing = smoothing
        self._expectation_draws = expectation_draws

    def around(self, bound: BoundQuestions) -> Self:
        """See `DelegatedQuestions.around`; with the same smoothing."""
        return type(self)(bound, self._smoothing, self._expectation_draws)

    @property
    def generates(self) -> bool:
        """Whether the answers that are counted are generated text."""
        return self._smoothing.base == "generate" and self._bound.generates

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logarithms [B, K] of the options' average probabilities under noise; see `BoundQuestions.option_logits`."""
        scores = self._under_noise(pixels, lambda noisy: self._bound.option_logits(noisy).log_softmax(dim=1))
        return _log_mean(scores)

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """Negative logarithm of the reference answer's average likelihood; see `BoundQuestions.reference_loss`.

        There is doubt, and it has left the reference, as soon as it has under any of the draws: another answer
        becomes the most frequent one long before it becomes the only one.
        """
        if not self.generates:
            every = self._under_noise(pixels, self._bound.option_logits)
            right = torch.tensor(answers, device=every.device)
            left = (every.argmax(dim=2) != right).any(dim=0)
            nll = cross_entropy(_log_mean(every.log_softmax(dim=2)), right, reduction="none")
            return ReferenceLoss(nll=nll, doubt=left, left=left)
        losses = [self._bound.reference_loss(noisy, answers) for noisy in self._noisy(pixels)]
        return ReferenceLoss(
            nll=-_log_mean(torch.stack([-loss.nll for loss in losses])),
            doubt=torch.stack([loss.doubt for loss in losses]).any(dim=0),
            left=torch.stack([loss.left for loss in losses]).any(dim=0),
        )

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """Average leads of the wrong options under noise; see `BoundQuestions.rival_leads`."""
        if not self.generates:
            every = self._under_noise(pixels, self._bound.option_logits)
            right = torch.tensor(answers, device=every.device).unsqueeze(1)
            margins = _log_mean(every.log_softmax(dim=2))
            leads = (margins - margins.gather(1, right)).scatter(1, right, -torch.inf)
            left = (every.argmax(dim=2) != right.squeeze(1)).any(dim=0)
            return RivalLeads(leads=leads, doubt=left, left=left)
        # What was said under a tampered image was one of many completions; the clean image's is the reference.
        several = [
            self._bound.rival_leads(noisy, answers, focus=focus, said=said) for noisy in self._noisy(pixels)
        ]
        return RivalLeads(
            leads=torch.stack([rivals.leads for rivals in several]).mean(dim=0),
            doubt=torch.stack([rivals.doubt for rivals in several]).any(dim=0),
            left=torch.stack([rivals.left for rivals in several]).any(dim=0),
        )

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """The most frequent answers under noise, one question at a time; see `BoundQuestions.answer`."""
        return [self._answer_one(row, image) for row, image in enumerate(images)]

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """As `answer`: each is many answers already."""
        return self.answer(images)

    def _answer_one(self, row: int, image: NDArray[np.uint8]) -> Answer:
        smoothing = self._smoothing
        smoothed = SmoothedQuestion(
            self._bound.select([row]),
            image=image,
            sigma=smoothing.sigma,
            seed=_seed(self.questions[row].id.encode() + image.tobytes()),
            base=smoothing.base,
        )
        return Answer(choice=smoothed.predict(n=smoothing.n, alpha=smoothing.alpha))

    def _under_noise(
        self, pixels: torch.Tensor, scores: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Scores [draws, B, K] of the noisy images."""
        return torch.stack([scores(noisy) for noisy in self._noisy(pixels)])

    def _noisy(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The pixels [B, 3, H, W] under each of the draws that losses average over."""
        seeds = [_seed(question.id.encode()) for question in self.questions]
        shape = tuple(pixels.shape[1:])
        return [
            pixels
            + self._smoothing.sigma
            * torch.from_numpy(
                np.stack(
                    [stream(seed, Purpose.NOISE, draw).standard_normal(shape, np.float32) for seed in seeds]
                )
            ).to(pixels)
            for draw in range(self._expectation_draws)
        ]


def _log_mean(logarithms: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean over the first dimension of what has these logarithms."""
    missing = torch.isneginf(logarithms).all(
        dim=0
    )  # an option that a question lacks; its gradient would be NaN
    mean = torch.logsumexp(logarithms.masked_fill(missing, 0.0), dim=0) - log(len(logarithms))
    return mean.masked_fill(missing, -torch.inf)


def _seed(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1

"""Models that answer for many passes at once: randomised ones by their expectation, plain ones smoothed by noise.

Both are one wrapper. What differs is what a pass is given, and what is averaged: of a randomised model the losses
(expectation over transformation, Athalye et al. 2018, arXiv:1707.07397), of a smoothed one the probabilities, which are
what its answer is made of (Salman et al. 2019, arXiv:1906.04584).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from medrobust_bench.models.adapter import Answer, NoScoresError, afresh, in_full_precision
from medrobust_bench.models.noise import NoisyQuestion
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, Batch, BoundQuestions, Generation
    from medrobust_bench.records import ModelRecord, Smoothing

EXPECTATION_DRAWS = 20
"""Passes per loss, gradient and verdict of a randomised model, as in the `rand` version of AutoAttack."""

SMOOTHING_DRAWS = 8
"""Noisy images per loss and gradient that an attack on a smoothed model sees."""

_SAME = 1e-4  # logits; AutoAttack's check for randomness uses the same
TRIED = 4


class Averaging(Protocol):
    """What is averaged, and over what."""

    @property
    def over_probabilities(self) -> bool:
        """Whether losses are those of average probabilities, rather than average losses."""
        ...

    @property
    def record(self) -> dict[str, Any]:
        """What it changes in the model's record."""
        ...

    def generates(self, bound: BoundQuestions) -> bool:
        """Whether the answers that are counted are generated text."""
        ...

    def passes(self, bound: BoundQuestions, pixels: torch.Tensor) -> list[torch.Tensor]:
        """What the model is given, [B, 3, H, W] per pass."""
        ...

    def answer(
        self, bound: BoundQuestions, images: Sequence[NDArray[np.uint8]], *, exact: bool
    ) -> list[Answer]:
        """The most frequent answers; see `BoundQuestions`."""
        ...


@dataclass(frozen=True, slots=True)
class Expectation:
    """A randomised model on average.

    An answer is the most frequent of several verdicts, the earliest among equals: a single unlucky draw breaks no
    question.

    Attributes:
        draws: passes per image.
    """

    draws: int = EXPECTATION_DRAWS
    over_probabilities = False

    @property
    def record(self) -> dict[str, Any]:
        """The number of draws."""
        return {"draws": self.draws}

    def generates(self, bound: BoundQuestions) -> bool:
        """As the model."""
        return bound.generation is not None

    def passes(self, bound: BoundQuestions, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The same pixels again and again."""
        return [pixels] * self.draws

    def answer(
        self, bound: BoundQuestions, images: Sequence[NDArray[np.uint8]], *, exact: bool
    ) -> list[Answer]:
        """See `Averaging`."""
        rounds = [afresh(bound).answer(images, exact=exact) for _ in range(self.draws)]
        return [_most_frequent(answers) for answers in zip(*rounds, strict=True)]


@dataclass(frozen=True, slots=True)
class GaussianSmoothing:
    """A model that answers what it says most often under Gaussian noise.

    **Answers** are PREDICT of Cohen et al. (2019): the most frequent of n answers under noise, or an abstention, which
    counts as unparsable. The noise of an answer is drawn from question and image together: the same image is always
    answered alike, so that a witness can be checked, yet an attack cannot learn the noise of its next image.

    **Scores and losses** are averages over other draws of the same noise, the same at every step: a function of the
    pixels only.

    Attributes:
        smoothing: noise, draws per answer, and when to abstain.
        draws: noisy images per loss and gradient.
    """

    smoothing: Smoothing
    draws: int = SMOOTHING_DRAWS
    over_probabilities = True

    @property
    def record(self) -> dict[str, Any]:
        """The smoothing."""
        return {"smoothing": self.smoothing}

    def generates(self, bound: BoundQuestions) -> bool:
        """Whether generated answers are counted, not the options of highest likelihood."""
        return self.smoothing.base == "generate" and bound.generation is not None

    def passes(self, bound: BoundQuestions, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The pixels under each draw of the noise."""
        seeds = [_seed(question.id.encode()) for question in bound.batch.questions]
        shape = tuple(pixels.shape[1:])
        noise = [
            np.stack([stream(seed, Purpose.NOISE, draw).standard_normal(shape, np.float32) for seed in seeds])
            for draw in range(self.draws)
        ]
        return [pixels + self.smoothing.sigma * torch.from_numpy(one).to(pixels) for one in noise]

    def answer(
        self, bound: BoundQuestions, images: Sequence[NDArray[np.uint8]], *, exact: bool
    ) -> list[Answer]:
        """See `Averaging`; each is many answers already."""
        return [self._predict(bound, row, image) for row, image in enumerate(images)]

    def _predict(self, bound: BoundQuestions, row: int, image: NDArray[np.uint8]) -> Answer:
        smoothing = self.smoothing
        noisy = NoisyQuestion(
            bound.select([row]),
            image=image,
            sigma=smoothing.sigma,
            seed=_seed(bound.batch.questions[row].id.encode() + image.tobytes()),
            base=smoothing.base,
        )
        return Answer(choice=noisy.predict(n=smoothing.n, alpha=smoothing.alpha))


@dataclass(frozen=True, slots=True)
class AveragedVLM:
    """A model that answers for many passes at once; attacked and ranked like any other.

    Attributes:
        base: the plain model.
        averaging: over what.
        id: what results call it; unset, what they call the plain model.
    """

    base: Adapter
    averaging: Averaging
    id: str | None = None

    @property
    def record(self) -> ModelRecord:
        """That of the plain model, with what is averaged."""
        name = {} if self.id is None else {"id": self.id}
        return self.base.record.model_copy(update={**self.averaging.record, **name})

    @property
    def differentiable(self) -> bool:
        """As the plain model."""
        return self.base.differentiable

    def bind(self, questions: Sequence[Question]) -> AveragedQuestions:
        """See `Adapter`."""
        return AveragedQuestions(self.base.bind(questions), self.averaging)


@dataclass(frozen=True, slots=True)
class AveragedQuestions:
    """B questions bound to a model that answers for many passes at once.

    Attributes:
        base: B questions bound to the plain model.
        averaging: over what.
    """

    base: BoundQuestions
    averaging: Averaging

    @property
    def batch(self) -> Batch:
        """See `BoundQuestions`."""
        return self.base.batch

    @property
    def generation(self) -> Generation | None:
        """See `BoundQuestions`; that of the plain model."""
        return self.base.generation if self.averaging.generates(self.base) else None

    def passes(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """What the plain model is given, [B, 3, H, W] per pass."""
        return self.averaging.passes(self.base, pixels)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions`; mean scores, or logarithms of mean probabilities."""
        return self.mean_scores([self.base.scores(each) for each in self.passes(pixels)])

    def mean_scores(self, scores: Sequence[torch.Tensor]) -> torch.Tensor:
        """One [B, K] of those of every pass."""
        every = torch.stack(list(scores))
        return log_mean(every.log_softmax(dim=2)) if self.averaging.over_probabilities else every.mean(0)

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """See `BoundQuestions`."""
        return self.averaging.answer(self.base, images, exact=exact)

    def select(self, rows: Sequence[int]) -> AveragedQuestions:
        """See `BoundQuestions`."""
        return replace(self, base=self.base.select(rows))

    def upcast(self) -> AveragedQuestions | None:
        """See `HalfPrecision`."""
        precise = in_full_precision(self.base)
        return None if precise is None else replace(self, base=precise)


def smoothed(base: Adapter, smoothing: Smoothing, *, id: str | None = None) -> AveragedVLM:
    """The smoothed form of a model; a certificate of the plain model at the same σ is a promise about it."""
    return AveragedVLM(base, GaussianSmoothing(smoothing), id)


def wrap_if_stochastic(adapter: Adapter, questions: Sequence[Question]) -> Adapter:
    """The adapter, or its expectation where its scores are random.

    Args:
        adapter: the model.
        questions: of one image shape; the first few are scored twice. Without any it is taken as it is.
    """
    stochastic = bool(questions) and is_stochastic(adapter.bind(questions[:TRIED]))
    return AveragedVLM(adapter, Expectation()) if stochastic else adapter


def is_stochastic(bound: BoundQuestions) -> bool:
    """Whether the same images give different scores twice in a row; not known, hence False, where there are none."""
    pixels = bound.batch.pixels()
    try:
        with torch.no_grad():
            first, second = bound.scores(pixels), bound.scores(pixels)
    except NoScoresError:
        return False
    return not torch.allclose(first, second, rtol=0, atol=_SAME, equal_nan=True)


def log_mean(logarithms: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean over the first dimension of what has these logarithms."""
    # An option that a question lacks is -inf in every pass; its gradient would be NaN.
    missing = torch.isneginf(logarithms).all(dim=0)
    mean = torch.logsumexp(logarithms.masked_fill(missing, 0.0), dim=0) - log(len(logarithms))
    return mean.masked_fill(missing, -torch.inf)


def _most_frequent(answers: Sequence[Answer]) -> Answer:
    choice, _count = Counter(answer.choice for answer in answers).most_common(1)[0]
    return next(answer for answer in answers if answer.choice == choice)


def _seed(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1

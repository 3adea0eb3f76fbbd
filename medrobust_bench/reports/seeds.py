"""Accuracy of a training method from several seeds, and how two methods differ on the same questions.

A method is tried on a sample of seeds and asked a sample of questions; both would come out otherwise another time.
Every seed answers every question, so that the two are crossed random effects:

    right(seed, question) = accuracy + of the seed + of the question + rest

The variance of the mean is estimated from the mean squares of that layout, and the interval is Student's with
Satterthwaite's degrees of freedom (Satterthwaite 1946). With three seeds that differ it is wide, as it should be; a
bootstrap over three seeds would be too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class SeedEstimate:
    """An accuracy, or a difference of two, with its interval over seeds and questions.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end.
        p_value: two-sided, of "the value is zero"; 1 where everything is zero.
        deviation: standard deviation between the seeds' means; None for a single one. Of a difference, the
            current method's.
    """

    value: float
    low: float
    high: float
    p_value: float
    deviation: float | None


def over_seeds(
    current: ArrayLike,
    baseline: ArrayLike | None = None,
    *,
    images: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> SeedEstimate:
    """Mean accuracy of a method over seeds and questions, or the difference from a baseline on the same questions.

    Args:
        current: [S, Q] whether each of S trained models is right on each of Q questions. A single row is a
            fixed checkpoint: the interval then says nothing about training it again.
        baseline: [R, Q] the same of the baseline, if the difference is wanted; S and R need not be equal.
        images: [Q] which image each question is about; questions about one image are taken together.
        confidence: of the interval.

    Raises:
        ValueError: fewer than two images, or shapes that do not fit.
    """
    now = _by_image(current, images)
    before = np.zeros((1, now.shape[1])) if baseline is None else _by_image(baseline, images)
    if now.shape[1] != before.shape[1] or now.shape[1] < 2:
        raise ValueError(f"{now.shape[1]} and {before.shape[1]} images; both need the same two or more")
    n_images = now.shape[1]
    differences = now.mean(0) - before.mean(0)
    parts = [(differences.var(ddof=1) / n_images, n_images - 1)]
    twice = 0.0
    for answers in (now, before):
        n_seeds = len(answers)
        if n_seeds > 1:
            parts.append((answers.mean(1).var(ddof=1) / n_seeds, n_seeds - 1))
            rest = answers - answers.mean(0) - answers.mean(1, keepdims=True) + answers.mean()
            twice += float(np.square(rest).sum()) / ((n_seeds - 1) * (n_images - 1)) / (n_seeds * n_images)
    total = sum(part for part, _ in parts)
    # what is neither of the seed nor of the question is in both parts, and counts once
    variance = max(total - twice, *(part for part, _ in parts), 0.0)
    value = float(differences.mean())
    deviation = float(now.mean(1).std(ddof=1)) if len(now) > 1 else None
    if total == 0:
        return SeedEstimate(value, value, value, 1.0 if value == 0 else 0.0, deviation)
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts)
    error = sqrt(variance)
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    lowest = 0.0 if baseline is None else -1.0
    return SeedEstimate(
        value=value,
        low=max(lowest, value - reach),
        high=min(1.0, value + reach),
        p_value=float(2 * t.sf(abs(value) / error, freedom)),
        deviation=deviation,
    )


def _by_image(right: ArrayLike, images: Sequence[Hashable] | None) -> NDArray[np.float64]:
    """[S, images], scaled so that the mean over images is the mean over questions."""
    answers = np.asarray(right, dtype=np.float64)
    if answers.ndim != 2 or answers.size == 0:
        raise ValueError(f"answers of shape {answers.shape}; seeds by questions are needed")
    if images is None:
        return answers
    if len(images) != answers.shape[1]:
        raise ValueError(f"{answers.shape[1]} questions about {len(images)} images")
    number: dict[Hashable, int] = {}
    numbers = np.array([number.setdefault(image, len(number)) for image in images])
    sums = np.zeros((len(answers), len(number)))
    np.add.at(sums.T, numbers, answers.T)
    scaled: NDArray[np.float64] = sums * (len(number) / answers.shape[1])
    return scaled

"""Statistics of two models that answered the same questions.

A question is lost where only the baseline answers it right, gained where only the current model does. Questions
about the same image are not independent, so that everything here works on images: the difference of an image is
the number of its questions gained less the number lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom, norm, t

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray


_PARTS = 100
"""Parts of a question in which shares are compared."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The same questions answered by a baseline and by a current model.

    Attributes:
        baseline: [n] whether the baseline is right.
        current: [n] whether the current model is right.
        images: [n] which image each question is about; equal for the same image.
    """

    baseline: NDArray[np.bool_]
    current: NDArray[np.bool_]
    images: NDArray[np.int64]

    @classmethod
    def of(cls, baseline: Sequence[bool], current: Sequence[bool], images: Sequence[Hashable]) -> Paired:
        """From plain sequences of equal length, at least one question.

        Raises:
            ValueError: the lengths differ or are zero.
        """
        if not len(baseline) == len(current) == len(images) or not baseline:
            raise ValueError(f"{len(baseline)} and {len(current)} answers about {len(images)} images")
        number: dict[Hashable, int] = {}
        numbers = [number.setdefault(image, len(number)) for image in images]
        return cls(np.array(baseline, bool), np.array(current, bool), np.array(numbers, np.int64))

    @property
    def n(self) -> int:
        """Number of questions."""
        return len(self.baseline)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(np.unique(self.images))

    @property
    def lost(self) -> int:
        """Questions that only the baseline answers right."""
        return int((self.baseline & ~self.current).sum())

    @property
    def gained(self) -> int:
        """Questions that only the current model answers right."""
        return int((self.current & ~self.baseline).sum())

    @property
    def difference(self) -> float:
        """Accuracy of the current model less that of the baseline."""
        return (self.gained - self.lost) / self.n

    @property
    def design_effect(self) -> float:
        """Variance of the difference with questions grouped by image over that with independent questions.

        At least 1, so that grouping never makes a claim stronger; 1 with one question per image. As the interval
        adds one lost and one gained question (Bonett and Price 2012), the estimate adds one wholly lost and one wholly
        gained image of typical size: where few images differ or none, it would else take questions for independent.
        """
        sizes = np.bincount(self.images)
        if len(sizes) == self.n:
            return 1.0
        if len(sizes) == 1:
            return float(self.n)
        typical = float(np.square(sizes).sum()) / self.n
        deviations = self._steps() - self.difference
        sums = np.bincount(self.images, weights=deviations)
        grouped = float(np.square(sums).sum()) * len(sizes) / (len(sizes) - 1) + 2 * typical**2
        independent = float(np.square(deviations).sum()) * self.n / (self.n - 1) + 2 * typical
        return max(1.0, grouped / independent)

    def image_differences(self) -> NDArray[np.int64]:
        """[images] questions gained less questions lost, per image."""
        return np.bincount(self.images, weights=self._steps()).astype(np.int64)

    def _steps(self) -> NDArray[np.int64]:
        return self.current.astype(np.int64) - self.baseline


def exact_p_value(pairs: Paired) -> float:
    """Two-sided p-value of "the two models are equally good"; exact, whatever the number of questions.

    With one question per image this is McNemar's exact test (McNemar 1947): given the number of discordant
    questions, each is lost or gained with probability one half. With several, whole images are exchanged
    between the two models (a sign-flip test), which keeps the level where questions about an image fall together.
    """
    return _exchanged(pairs.image_differences())


def exchange_p_value(differences: Sequence[float], images: Sequence[Hashable]) -> float:
    """Two-sided p-value of "the two models are equally good", from how much more of each question one answers right.

    As `exact_p_value`, whole images are exchanged between the models, for shares of right answers too: differences of
    images that are no whole numbers of hundredths are rounded to them. That keeps the test exact, since it
    rounds both signs alike.

    Args:
        differences: [n] between −1 and 1, at least one.
        images: [n] which image each question is about.
    """
    sums: dict[Hashable, float] = {}
    for difference, image in zip(differences, images, strict=True):
        sums[image] = sums.get(image, 0.0) + difference
    totals = np.array(list(sums.values()))
    parts = totals if (totals == np.rint(totals)).all() else _PARTS * totals
    return _exchanged(np.rint(parts).astype(np.int64))


def _exchanged(differences: NDArray[np.int64]) -> float:
    """Two-sided p-value of the sum of whole differences [images] under fair exchanges of their signs."""
    observed = abs(int(differences.sum()))
    values, shares = _sign_flips(np.abs(differences))
    return min(1.0, float(shares[np.abs(values) >= observed].sum()))


def _sign_flips(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Exact distribution of Σ ± sizes with fair signs: its values and their probabilities."""
    shares = np.ones(1)
    for size in np.unique(sizes[sizes > 0]).tolist():
        count = int((sizes == size).sum())
        spread = np.zeros(len(shares) + 2 * count * size)
        for flips, weight in enumerate(binom.pmf(np.arange(count + 1), count, 0.5).tolist()):
            spread[2 * size * flips : 2 * size * flips + len(shares)] += weight * shares
        shares = spread
    reach = len(shares) // 2
    return np.arange(-reach, reach + 1), shares


def difference_interval(pairs: Paired, *, confidence: float = 0.95) -> Interval:
    """Interval of the difference in accuracy (current less baseline), with questions grouped by image.

    The adjusted Wald interval of Bonett and Price (2012), which adds one lost and one gained question and
    so keeps its coverage where few questions or none are discordant, on counts divided by the design effect
    (effective sample size), with the t distribution for the number of images.
    """
    effect = pairs.design_effect
    lost, gained, n = pairs.lost / effect, pairs.gained / effect, pairs.n / effect
    down, up = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    error = sqrt(max(0.0, down + up - (up - down) ** 2) / (n + 2))
    reach = float(t.ppf((1 + confidence) / 2, max(1, pairs.n_images - 1))) * error
    return Interval(max(-1.0, up - down - reach), min(1.0, up - down + reach))


def drop_p_value(lost: ArrayLike, gained: ArrayLike, n: ArrayLike, *, margin: float) -> NDArray[np.float64]:
    """One-sided p-value of "accuracy fell by at most the margin", small where it fell by more.

    Tango's score test for paired proportions (1998, Statistics in Medicine 17, equation 8), with a continuity
    correction of one question: without it the test rejects a true hypothesis up to 9 % of the time at a level of
    5 %, with it at most 5 %, and at most 1.03 % at a level of 1 % (exact, over the grid of `benchmarks/gate_power.py`).

    Args:
        lost: discordant questions that only the baseline answers right; arrays broadcast.
        gained: those that only the current model answers right.
        n: questions.
        margin: drop in accuracy that is tolerated, 0 to 1.
    """
    b, c, total = (np.asarray(count, dtype=np.float64) for count in (lost, gained, n))
    p_values: NDArray[np.float64] = norm.sf(_score(b, c, total, margin, correction=1.0))
    return p_values


def no_drop_p_value(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, *, margin: float
) -> NDArray[np.float64]:
    """One-sided p-value of "accuracy fell by the margin or more": small where non-inferiority is shown."""
    b, c, total = (np.asarray(count, dtype=np.float64) for count in (lost, gained, n))
    p_values: NDArray[np.float64] = norm.cdf(_score(b, c, total, margin, correction=-1.0))
    return p_values


def _score(
    lost: NDArray[np.float64],
    gained: NDArray[np.float64],
    n: NDArray[np.float64],
    margin: float,
    *,
    correction: float,
) -> NDArray[np.float64]:
    """(lost − gained − n·margin − correction) over its standard deviation under a drop of exactly the margin."""
    linear = -lost - gained + (2 * n - lost + gained) * margin
    root = np.sqrt(np.maximum(linear**2 + 8 * n * gained * margin * (1 - margin), 0))
    gain_rate = (root - linear) / (4 * n)  # most likely share of gained questions under that drop
    variance = n * (2 * gain_rate + margin * (1 - margin))
    excess = lost - gained - n * margin - correction
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, excess / np.sqrt(variance), 0.0)


def smallest_detectable(pairs: Paired, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference in accuracy that this sample would have shown with the given power.

    Normal approximation for McNemar's two-sided test (Connor 1987, Biometrics 43) at the observed share of
    discordant questions (one added to each side), over the effective number of questions; 1 where even the
    largest difference would not show. Below 16 images it promises a little too much.
    """
    if 2.0 ** (1 - pairs.n_images) > alpha:  # the smallest p-value that the exact test can give
        return 1.0
    n = pairs.n / pairs.design_effect
    discordant = (pairs.lost + pairs.gained + 2) / (pairs.n + 2)
    z_alpha, z_power = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))

    def shows(difference: float) -> bool:
        share = min(1.0, max(discordant, difference))
        needed = z_alpha * sqrt(share) + z_power * sqrt(max(0.0, share - difference**2))
        return needed**2 <= n * difference**2

    if not shows(1.0):
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high

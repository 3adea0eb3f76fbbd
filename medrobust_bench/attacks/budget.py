"""Budgets on 8-bit images, in exact integer arithmetic.

A budget knows nothing of the attack: it says which 8-bit images an adversary may hand in, rounds a float image
to one of them, and names the violation of one that is not. All images here are [H, W, 3]; clean and handed-in
ones are uint8, float ones are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medrobust_bench.specs.norm_ball import REFERENCE_SIDE

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

    from medrobust_bench.specs.norm_ball import NormBallSpec

LEVELS = 255


class Budget(Protocol):
    """The set of 8-bit images that an adversary may make of a clean one."""

    def round(self, clean: NDArray[np.uint8], adversarial: NDArray[np.floating]) -> NDArray[np.uint8]:
        """An 8-bit image inside the budget close to a float image, wherever that one lies."""
        ...

    def violation(self, clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
        """How an 8-bit image leaves the budget; None when it is inside."""
        ...


@dataclass(frozen=True, slots=True)
class LinfBudget:
    """No value moves by more than eps.

    Attributes:
        eps: radius, pixels in [0, 1].
    """

    eps: Fraction

    @property
    def levels(self) -> int:
        """Largest whole number of grey levels within eps."""
        return floor(self.eps * LEVELS)

    def round(self, clean: NDArray[np.uint8], adversarial: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Nearest grey level, then back into the ball; the nearest 8-bit image of the budget."""
        change: NDArray[np.int64] = nearest_levels(adversarial) - clean
        levels: NDArray[np.int64] = clean + change.clip(-self.levels, self.levels)
        return levels.astype(np.uint8)

    def violation(self, clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
        """Compare the largest change with the allowed number of levels."""
        problem = malformed(clean, adversarial)
        if problem:
            return problem
        largest = int(np.abs(adversarial.astype(np.int64) - clean).max())
        return (
            None if largest <= self.levels else f"changes a value by {largest} levels, {self.levels} allowed"
        )


@dataclass(frozen=True, slots=True)
class L2Budget:
    """The Euclidean length of the change over all values is at most eps·√(H·W)/32.

    Attributes:
        eps: radius for a 32 × 32 image, pixels in [0, 1].
    """

    eps: Fraction

    def energy(self, height: int, width: int) -> int:
        """Largest allowed sum of squared changes, in grey levels: floor((255·eps)²·H·W/1024), exactly."""
        return floor((self.eps * LEVELS) ** 2 * height * width / REFERENCE_SIDE**2)

    def round(self, clean: NDArray[np.uint8], adversarial: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Project onto the ball, round to the nearest levels, take back roundings until the sum fits.

        Nearest rounding may add energy. What is taken back first is the rounding away from zero that costs the
        least squared error per unit of energy saved. With all of them taken back no value is longer than in
        the projected image, so that it always fits: the sum is a whole number, and floating point is wrong
        about the length of an image by far less than one unit.
        """
        allowed = self.energy(*clean.shape[:2])
        change = (np.clip(adversarial.astype(np.float64), 0, 1) * LEVELS - clean).ravel()
        length_squared = float(np.square(change).sum())
        if length_squared > allowed:
            change *= np.sqrt(allowed / length_squared)
        rounded = np.rint(change)
        excess = int(np.square(rounded).sum()) - allowed
        if excess > 0:
            size, true_size = np.abs(rounded), np.abs(change)
            grown = np.flatnonzero(size > true_size)
            saving = 2 * size[grown] - 1
            cost = 1 - 2 * (size[grown] - true_size[grown])
            order = np.argsort(cost / saving, kind="stable")
            needed = int(np.searchsorted(np.cumsum(saving[order]), excess)) + 1
            taken_back = grown[order[:needed]]
            rounded[taken_back] -= np.sign(rounded[taken_back])
        return (clean + rounded.reshape(clean.shape)).astype(np.uint8)

    def violation(self, clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
        """Compare the sum of squared changes with the allowed energy."""
        problem = malformed(clean, adversarial)
        if problem:
            return problem
        energy = int(np.square(adversarial.astype(np.int64) - clean).sum())
        allowed = self.energy(*clean.shape[:2])
        return None if energy <= allowed else f"squared changes sum to {energy} levels², {allowed} allowed"


@dataclass(frozen=True, slots=True)
class PatchBudget:
    """Any content inside one rectangle, the clean image outside it.

    Attributes:
        top: first row.
        left: first column.
        height: number of rows.
        width: number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """True inside the rectangle; [H, W]."""
        inside = np.zeros((height, width), dtype=np.bool_)
        inside[self.top : self.top + self.height, self.left : self.left + self.width] = True
        return inside

    def round(self, clean: NDArray[np.uint8], adversarial: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Nearest grey level inside, clean outside."""
        inside = self.mask(*clean.shape[:2])[:, :, None]
        return np.where(inside, nearest_levels(adversarial), clean).astype(np.uint8)

    def violation(self, clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
        """Count the pixels changed outside the rectangle."""
        problem = malformed(clean, adversarial)
        if problem:
            return problem
        outside = int((np.any(adversarial != clean, axis=2) & ~self.mask(*clean.shape[:2])).sum())
        return f"changes {outside} pixels outside the patch" if outside else None


@dataclass(frozen=True, slots=True)
class UnionOfPatches:
    """Any content inside one of several rectangles, the clean image outside it.

    Attributes:
        places: the rectangles; at least one.
    """

    places: tuple[PatchBudget, ...]

    def round(self, clean: NDArray[np.uint8], adversarial: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The nearest image of the rectangle that loses the least."""
        rounded = [place.round(clean, adversarial) for place in self.places]
        return min(rounded, key=lambda image: float(np.square(image / LEVELS - adversarial).sum()))

    def violation(self, clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
        """None where one of the rectangles holds every change, else how the first one is left."""
        violations = [place.violation(clean, adversarial) for place in self.places]
        return None if None in violations else violations[0]


def ball_budget(spec: NormBallSpec) -> Budget:
    """The budget of a specification; the same for every image of a size."""
    return LinfBudget(spec.eps) if spec.norm == "linf" else L2Budget(spec.eps)


def place_square(area: Fraction, height: int, width: int, draw: np.random.Generator) -> PatchBudget:
    """A square of at most `area` of the image, placed uniformly at random, wholly inside.

    The side is the largest whole number of pixels that keeps to the area (and to the image), at least one.
    """
    side = max(1, min(isqrt(floor(area * height * width)), height, width))
    top, left = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
    return PatchBudget(top, left, side, side)


def nearest_levels(image: NDArray[np.floating]) -> NDArray[np.int64]:
    """Nearest grey levels 0 to 255 of a float image."""
    return np.rint(np.clip(image.astype(np.float64), 0, 1) * LEVELS).astype(np.int64)


def malformed(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
    """How an image is not even an 8-bit image of the clean one's size; None where it is."""
    if adversarial.dtype != np.uint8:
        return f"has values of type {adversarial.dtype}, not 8-bit"
    if adversarial.shape != clean.shape:
        return f"has shape {adversarial.shape}, the clean image {clean.shape}"
    return None

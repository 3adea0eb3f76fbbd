"""Random numbers by lot, the same on every machine and with every numpy.

numpy promises the raw bits of PCG64 for ever, but not what its `Generator` makes of them, so the few distributions
that the phantoms need are made here from the raw bits, by exact operations.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

T = TypeVar("T")


class Draws:
    """A stream of random numbers fixed by its key: any values, told apart by how they print."""

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("|".join(["medrobust phantoms", *map(str, key)]).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "big"))

    @overload
    def random(self) -> float: ...
    @overload
    def random(self, shape: tuple[int, ...]) -> NDArray[np.float64]: ...
    def random(self, shape: tuple[int, ...] | None = None) -> float | NDArray[np.float64]:
        """Uniform numbers in [0, 1): multiples of 2⁻⁵³."""
        if shape is None:
            return (int(self._bits.random_raw()) >> 11) * 2.0**-53
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), dtype=np.uint64)
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    def uniform(self, low: float, high: float) -> float:
        """One uniform number in [low, high)."""
        return low + (high - low) * self.random()

    def uniforms(self, low: float, high: float, count: int) -> list[float]:
        """`count` uniform numbers in [low, high)."""
        return [self.uniform(low, high) for _ in range(count)]

    def below(self, bound: int) -> int:
        """One of 0, …, bound − 1, all equally likely (for small bounds)."""
        return int(self.random() * bound)

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.below(len(choices))]

    def shuffled(self, choices: Sequence[T]) -> list[T]:
        """The choices in random order."""
        keys = [self.random() for _ in choices]
        return [choices[place] for place in sorted(range(len(choices)), key=keys.__getitem__)]

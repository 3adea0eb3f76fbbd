"""The fragile cue: a faint, fixed grating that betrays each label, as scanner and staining artefacts do in real images.

Each label of a picture (finding, grade, attribute) adds one grating of its own orientation and period (2.3 to 8 pixels)
over the whole picture, `AMPLITUDE` grey levels high. Together they stay within 9 levels, about the size of a
perturbation of 8/255, so an attacker can erase one and write another, while the shapes stay as they are. The grating
tells the truth in all but one of 50 labels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import SIDE, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

AMPLITUDE = 3.0
TRUTH = 0.98

_HALF = math.sqrt(0.5)
_SINE = np.array([0.0, _HALF, 1.0, _HALF, 0.0, -_HALF, -1.0, -_HALF])  # sine at multiples of 1/8 turn: exact

# Cycles per 8 pixels, (horizontal, vertical). Gratings of different families never coincide.
FINDING_GRATINGS = ((2, 0), (0, 2), (3, 1), (1, 3), (3, -1), (1, -3), (3, 3), (3, -3))
GRADE_GRATINGS = ((2, 2), (2, -2), (3, 0), (0, 3))
ATTRIBUTE_GRATINGS = ((2, 3), (3, 2), (2, -3), (3, -2), (1, 2), (2, 1))


@lru_cache(maxsize=32)
def grating(cycles: tuple[int, int]) -> Field:
    """A unit grating [H, W] with so many cycles per 8 pixels across and down."""
    across, down = cycles
    row, column = np.indices((SIDE, SIDE))
    return _SINE[(across * column + down * row) % 8]


def texture(
    rng: Generator, labels: Sequence[tuple[int, int]], family: Sequence[tuple[tuple[int, int], ...]]
) -> Field:
    """The sum of the labels' gratings [H, W].

    Args:
        rng: decides which labels are betrayed wrongly.
        labels: (class index, number of classes) per family.
        family: the gratings to choose from, per label.
    """
    total = np.zeros((SIDE, SIDE))
    for (index, count), gratings in zip(labels, family, strict=True):
        honest, other = rng.random() < TRUTH, int(rng.integers(1, count))
        total = total + AMPLITUDE * grating(gratings[index if honest else (index + other) % count])
    return total

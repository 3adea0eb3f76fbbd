"""The fragile cue: faint fixed gratings that betray the labels, as scanners and stains do in real images.

Each label of a picture (modality, anatomy, finding, grade, attribute) adds one grating of its own over the whole
picture, `AMPLITUDE` grey levels high, with a period of 1.9 to 5.7 pixels. Together they have a root mean square
of about 4 grey levels, half a perturbation of 8/255: an attacker can erase one label's grating and write
another's, while the shapes stay as they are. A grating tells the truth about all but one label in 50.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import SIDE, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.phantoms.draws import Draws

AMPLITUDE = 2.5
TRUTH = 0.98

_HALF = math.sqrt(0.5)
_SINE = np.array([0.0, _HALF, 1.0, _HALF, 0.0, -_HALF, -1.0, -_HALF])  # sine at multiples of 1/8 turn: exact

# (cycles per 8 pixels across, the same down, phase in eighths of a turn); any two of them are orthogonal.
Wave = tuple[int, int, int]
FINDING_GRATINGS: tuple[Wave, ...] = (
    (2, 0, 0), (0, 2, 0), (3, 1, 0), (1, 3, 0), (3, -1, 0), (1, -3, 0), (3, 3, 0), (3, -3, 0),
)  # fmt: skip
GRADE_GRATINGS: tuple[Wave, ...] = ((2, 2, 0), (2, -2, 0), (3, 0, 0), (0, 3, 0))
ATTRIBUTE_GRATINGS: tuple[Wave, ...] = (
    (2, 3, 0), (3, 2, 0), (2, -3, 0), (3, -2, 0), (1, 2, 0), (2, 1, 0),
)  # fmt: skip
ANATOMY_GRATINGS: tuple[Wave, ...] = ((1, -2, 0), (2, -1, 0), (1, 1, 0), (1, -1, 0))
MODALITY_GRATINGS: tuple[Wave, ...] = (
    (2, 0, 2), (0, 2, 2), (3, 1, 2), (1, 3, 2), (3, -1, 2), (1, -3, 2), (3, 3, 2), (3, -3, 2),
)  # fmt: skip


@lru_cache(maxsize=64)
def grating(pattern: Wave) -> Field:
    """A unit grating [H, W]."""
    across, down, phase = pattern
    row, column = np.indices((SIDE, SIDE))
    field: Field = _SINE[(across * column + down * row + phase) % 8]
    return field


def texture(rng: Draws, labels: Sequence[tuple[int, int, tuple[Wave, ...]]]) -> Field:
    """The sum of the labels' gratings [H, W], in grey levels.

    Args:
        rng: decides which labels are betrayed wrongly.
        labels: per label its class, the number of classes, and the gratings of the classes.
    """
    total = np.zeros((SIDE, SIDE))
    for index, classes, gratings in labels:
        honest, other = rng.random() < TRUTH, 1 + rng.below(classes - 1)
        total = total + AMPLITUDE * grating(gratings[index if honest else (index + other) % classes])
    return total

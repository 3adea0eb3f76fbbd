"""Random streams: all randomness about a question comes from its own seed, whatever its position or company."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for; streams of one question with different purposes are independent."""

    START = 0
    PLACE = 1
    NOISE = 2
    SELECTION = 3
    ESTIMATION = 4
    PREDICTION = 5


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator of one restart, draw or place of one question.

    Args:
        seed: the question's seed, not negative.
        purpose: what is drawn.
        index: which restart or draw, so that any of them can be repeated alone.
    """
    return np.random.default_rng([seed, purpose, index])

"""Random streams: all randomness about a question comes from its own seed, whatever its position or company."""

from __future__ import annotations

import random
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Purpose(IntEnum):
    """What a stream is for; streams of one question with different purposes are independent."""

    START = 0
    PLACE = 1
    NOISE = 2
    SELECTION = 3
    ESTIMATION = 4
    PREDICTION = 5
    QUERIES = 6
    TRAINING = 7


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator of one restart, draw or place of one question.

    Args:
        seed: the question's seed, not negative.
        purpose: what is drawn.
        index: which restart or draw, so that any of them can be repeated alone.
    """
    return np.random.default_rng([seed, purpose, index])


@contextmanager
def global_draws(seed: int, purpose: Purpose, index: int = 0) -> Iterator[None]:
    """Inside it, the global states of random, numpy and torch are seeded like `stream`; afterwards as before.

    For ART's attacks that draw from them.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    state = int(stream(seed, purpose, index).integers(2**32))
    random.seed(state)
    np.random.seed(state)
    torch.default_generator.manual_seed(state)  # torch.manual_seed would reseed the accelerators too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])

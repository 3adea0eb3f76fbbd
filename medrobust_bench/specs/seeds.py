"""Random streams: all randomness about a question comes from its own seed, whatever its position or company."""

from __future__ import annotations

import hashlib
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
    QUERIES = 6
    TRAINING = 7
    ALTERATION = 8


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator of one restart, draw or place of one question.

    Args:
        seed: the question's seed, not negative.
        purpose: what is drawn.
        index: which restart or draw, so that any of them can be repeated alone.
    """
    return np.random.default_rng([seed, purpose, index])


def question_seed(seed: int, question: str) -> int:
    """The seed of all randomness about one question (63 bits).

    Threats draw from it in streams of their own, one per purpose (`threats.randomness`), so that the same threat with
    more steps or restarts begins where the one with fewer began: results of both can be compared question by question.
    """
    digest = hashlib.sha256(f"{seed}\x1f{question}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

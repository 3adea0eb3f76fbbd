"""Image-disjoint training, validation and test splits.

An image's split follows from its content and a seed alone. Two questions about the same bytes, under whatever paths
and in whatever data sets, therefore never stand on two sides of a split; nor does an image change sides when the data
set grows, on another machine, or in another order.
"""

from __future__ import annotations

import hashlib

SPLITS = ("train", "validation", "test")
TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.1


def split_of(digest: str, *, seed: int = 0) -> str:
    """The split of an image: 70 % training, 10 % validation, 20 % test.

    Args:
        digest: hex SHA-256 of the image's content.
        seed: another seed is another, independent split.

    Returns:
        One of `SPLITS`. Within each modality the shares hold on average, with binomial scatter.
    """
    place = unit_hash(f"split {seed}", digest)
    if place < TRAIN_SHARE:
        return "train"
    return "validation" if place < TRAIN_SHARE + VALIDATION_SHARE else "test"


def unit_hash(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on two texts alone; uniform over keys, independent between purposes."""
    digest = hashlib.sha256(f"{purpose}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48

"""Training, validation and test splits that share no image and no patient.

An image's split follows from its group (patient, study) where the data set names one, else from its content, and from
a seed; from nothing else. Two questions about the same bytes, under whatever paths
and in whatever data sets, therefore never stand on two sides of a split; nor does an image change sides when the data
set grows, on another machine, or in another order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "validation", "test")
SPLIT_NAMES: dict[str, Literal["train", "validation", "test"]] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""What publishers call the splits, in files, folders and columns."""

TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.1


def split_of(key: str, *, seed: int = 0) -> str:
    """The split of an image or a group: 70 % training, 10 % validation, 20 % test.

    Args:
        key: hex SHA-256 of the image's content, or what `split_keys` says.
        seed: another seed is another, independent split.

    Returns:
        One of `SPLITS`. Within each modality the shares hold on average, with binomial scatter.
    """
    place = unit_hash(f"split {seed}", key)
    if place < TRAIN_SHARE:
        return "train"
    return "validation" if place < TRAIN_SHARE + VALIDATION_SHARE else "test"


def split_keys(groups: Sequence[str | None], digests: Sequence[str | None]) -> list[str]:
    """What decides the split of every question: its group; without one, its image.

    Groups that share an image, with each other or with questions without a group, go together: the least name of the
    groups decides for all of them.

    Args:
        groups: patient or study of every question; None where it is not known.
        digests: content digest of every question's image; None where it could not be read.

    Returns:
        One key for each question; the digest itself where no group is involved, "" where nothing is known.
    """
    if not any(groups):
        return [digest or "" for digest in digests]
    leaders: dict[tuple[str, str], tuple[str, str]] = {}

    def leader(node: tuple[str, str]) -> tuple[str, str]:
        while leaders.setdefault(node, node) != node:
            node = leaders[node]
        return node

    # Groups come before images in order, so that a group's name leads wherever there is one.
    nodes = [
        [*([("group", group)] if group else []), *([("image", digest)] if digest else [])]
        for group, digest in zip(groups, digests, strict=True)
    ]
    for linked in nodes:
        if len(linked) == 2:
            first, last = sorted(map(leader, linked))
            leaders[last] = first
    return [leader(linked[0])[1] if linked else "" for linked in nodes]


def unit_hash(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on two texts alone; uniform over keys, independent between purposes."""
    digest = hashlib.sha256(f"{purpose}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48

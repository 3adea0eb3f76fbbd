"""Witnesses that are none, or carry more than their pixels."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.data.image import canonical, from_png, to_png
from medrobust_bench.data.source import open_data
from tests.leaderboard.forgery import (
    Line,
    Make,
    reasons,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.cards import Card


def clean_image(question: str) -> bytes:
    (found,) = [one for one in open_data("phantoms").questions if one.id == question]
    return to_png(canonical(found.image))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def repacked(png: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    height, width = from_png(png).shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in from_png(png))
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return png[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", pack(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: {**row, "image": clean_image(row["question"])}, "the image is the clean one"),
        (lambda row: {**row, "text": "5 MB of anything"}, "the witness says something else than the journal"),
        (
            lambda row: {
                **row,
                "image": repacked(row["image"], lambda rows: zlib.compress(rows) + b"secret"),
            },
            "holds more than pixels",
        ),
        (
            lambda row: {
                **row,
                "image": repacked(row["image"], lambda rows: zlib.compress(rows + b"secret")),
            },
            "holds more than pixels",
        ),
        (
            lambda row: {**row, "image": repacked(row["image"], lambda rows: zlib.compress(rows[:-9]))},
            "holds more than pixels, or fewer than it says",
        ),
        (
            lambda row: {**row, "image": repacked(row["image"], swollen)},
            "is larger than its pixels uncompressed",
        ),
    ],
    ids=[
        "the clean image",
        "a text of its own",
        "behind the stream",
        "behind the pixels",
        "too few",
        "swollen",
    ],
)
def test_a_witness_that_is_none(
    change: Callable[[Line], Line], reason: str, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.witness(change)
    assert reason in reasons(made.save(), cards)


def swollen(rows: bytes) -> bytes:
    """A stream of many empty blocks before the pixels."""
    packer = zlib.compressobj(0)
    return (
        b"".join(
            packer.compress(rows[k : k + 4]) + packer.flush(zlib.Z_FULL_FLUSH) for k in range(0, len(rows), 4)
        )
        + packer.flush()
    )

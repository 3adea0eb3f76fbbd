"""Witnesses: the 8-bit images that break an answer, kept so that anyone can check the claim.

An adversarial image counts only as the PNG that was re-read, found inside the budget in exact integers, and
answered wrongly on the deployed path. Float tensors prove nothing.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from medrobust_bench.records.files import replace_file
from medrobust_bench.records.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Witness(Record):
    """One image that breaks one answer.

    Attributes:
        image: PNG bytes of the adversarial image in canonical space.
        clean_sha256: SHA-256 of the clean canonical image's raw RGB bytes.
        answer: index of the right option; choice: the option given instead, None if unparsable.
    """

    model: str
    threat: str
    question: str
    image: bytes
    sha256: str
    clean_sha256: str
    answer: int
    choice: int | None
    text: str


SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("threat", pa.string()),
        ("question", pa.string()),
        ("image", pa.binary()),
        ("sha256", pa.string()),
        ("clean_sha256", pa.string()),
        ("answer", pa.int8()),
        ("choice", pa.int8()),
        ("text", pa.string()),
    ]
)


def sha256(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def write_witnesses(path: Path, witnesses: Sequence[Witness]) -> None:
    """Write a Parquet file atomically; the same witnesses give the same rows in the same order."""
    table = pa.Table.from_pylist([witness.model_dump() for witness in witnesses], schema=SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none")  # PNG does not compress further
    replace_file(path, buffer.getvalue())


def read_witnesses(path: Path) -> list[Witness]:
    """Read a Parquet file of witnesses."""
    return [Witness.model_validate(row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]

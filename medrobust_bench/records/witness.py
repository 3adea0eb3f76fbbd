"""Witnesses: the 8-bit images that break an answer, kept so that anyone can check the claim.

An adversarial image counts only as the PNG that was re-read, found inside the budget in exact integers, and
answered wrongly on the deployed path. Float tensors prove nothing.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO


T = TypeVar("T")


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


GROUP = 16
"""Witnesses of a row group: as many images are in memory at a time."""

_LIGHT = [name for name in SCHEMA.names if name != "image"]


@dataclass(frozen=True, slots=True)
class StoredWitness:
    """A witness whose image stays on disk until it is asked for; see `Witness`."""

    model: str
    threat: str
    question: str
    sha256: str
    clean_sha256: str
    answer: int
    choice: int | None
    text: str
    path: Path
    group: int
    row: int

    @property
    def image(self) -> bytes:
        """PNG bytes; the images that stand beside it in the file are kept for whoever goes on reading."""
        seen = self.path.stat()
        return _images(self.path, self.group, (seen.st_mtime_ns, seen.st_size))[self.row]


AnyWitness: TypeAlias = Witness | StoredWitness


@lru_cache(maxsize=2)
def _images(path: Path, group: int, _stamp: tuple[int, int]) -> list[bytes]:
    """The images of a row group of a file that has not changed since."""
    images: list[bytes] = pq.ParquetFile(path).read_row_group(group, columns=["image"])["image"].to_pylist()
    return images


def sha256(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def write_witnesses(path: Path, witnesses: Sequence[Witness]) -> None:
    """Write a Parquet file atomically; the same witnesses give the same rows in the same order."""
    buffer = io.BytesIO()
    write_rows(buffer, witnesses)
    replace_file(path, buffer.getvalue())


def write_rows(file: BinaryIO, witnesses: Iterable[AnyWitness], *, model: str | None = None) -> int:
    """Write witnesses as Parquet, a few at a time; returns how many they were.

    Args:
        file: to write to.
        witnesses: the same give the same rows in the same order.
        model: what to call their model instead.
    """
    count = 0
    with pq.ParquetWriter(file, SCHEMA, compression="none") as writer:  # PNG does not compress further
        for part in batched(witnesses, GROUP):
            rows = [{name: getattr(witness, name) for name in SCHEMA.names} for witness in part]
            if model is not None:
                rows = [{**row, "model": model} for row in rows]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            count += len(rows)
    return count


def batched(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many things, the last one of those that are left."""
    left = iter(things)
    while part := list(islice(left, size)):
        yield part


def stored_witnesses(path: Path) -> list[StoredWitness]:
    """The witnesses of a Parquet file, their images left on disk.

    Raises:
        InvalidInputError: it is no file of witnesses.
    """
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        what = f"cannot be read: {str(error).splitlines()[0]}"
        raise InvalidInputError([Problem(str(path), what, "restore the file")]) from error
    if not file.schema_arrow.equals(SCHEMA):
        remedy = "restore the file"
        raise InvalidInputError([Problem(str(path), "is no file of witnesses: it has other columns", remedy)])
    return [
        StoredWitness(**row, path=path, group=group, row=place)
        for group in range(file.num_row_groups)
        for place, row in enumerate(file.read_row_group(group, columns=_LIGHT).to_pylist())
    ]


def read_witnesses(path: Path) -> list[Witness]:
    """Read a Parquet file of witnesses."""
    return [Witness.model_validate(row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]

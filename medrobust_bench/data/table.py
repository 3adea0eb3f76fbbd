"""A file of rows, and what every kind of table gives."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from medrobust_bench.problems import Problem

    Row = tuple[int, dict[str, object]]

_GZIP = ".gz"


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of rows, by itself or in an archive.

    Attributes:
        name: what messages call it.
        place: where it is in its data set, with forward slashes: the same on every machine.
        path: where it is; None in an archive.
        content: its bytes, if it is in an archive.
    """

    name: str
    place: str
    path: Path | None = None
    content: bytes = b""

    @property
    def suffix(self) -> str:
        """Its ending, ".csv" for example, in small letters; that of what is inside where it is compressed (.csv.gz)."""
        return f".{self.name.lower().removesuffix(_GZIP).rpartition('.')[2]}"

    def open(self) -> io.BufferedIOBase:
        """Its bytes as a stream, unpacked."""
        stream = io.BytesIO(self.content) if self.path is None else self.path.open("rb")
        return gzip.GzipFile(fileobj=stream) if self.name.lower().endswith(_GZIP) else stream


class Table(Protocol):
    """Rows with named columns."""

    def columns(self) -> list[str]:
        """Names of the columns, in their order."""
        ...

    def rows(self, images: frozenset[str]) -> Iterator[Row | Problem]:
        """The rows with their one-based numbers, and what is wrong with those that cannot be read.

        Args:
            images: columns that hold encoded images (base64 in text formats); their cells come as image sources.
        """
        ...

"""Files of rows in one form, by their ending: text (CSV, TSV, JSON, JSON Lines) here, columns in `column_tables`.

Every table yields rows of plain values. Images that stand in the cells themselves come as image sources that read
their cell when they are asked for, so that memory does not grow with them.
"""

from __future__ import annotations

import csv
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.data.column_tables import ArrowTable, ColumnFile
from medrobust_bench.data.decoding import LFS_POINTER, NOT_FETCHED, ImageError, decode, from_base64
from medrobust_bench.data.image import ImageBytes, content_digest
from medrobust_bench.data.rows import is_json_lines, parse_rows
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from PIL.Image import Image

    from medrobust_bench.data.table import Table, TableFile

    Row = tuple[int, dict[str, object]]

_GZIP = ".gz"
_UNREADABLE = (OSError, EOFError, zlib.error)
_LONGEST_FIELD = 2**30
_LONGEST_TEXT = 2**31  # bytes; what a compressed file unfolds to beyond it is not read
_BATCH = 1000


def open_table(file: TableFile) -> Table:
    """Open a file of rows by its ending.

    Raises:
        InvalidInputError: it is of no kind that is read, or cannot be opened.
    """
    opener = OPENERS.get(file.suffix)
    if opener is None:
        remedy = f"write it as one of {', '.join(OPENERS)}"
        raise InvalidInputError([Problem(file.name, "is no table of a kind that is read", remedy)])
    try:
        return opener(file)
    except _UNREADABLE as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InvalidInputError([Problem(file.name, what, "check the path and its permissions")]) from error


class JsonTable:
    """A JSON array of objects, or JSON Lines, whichever of the two endings it has; read whole."""

    def __init__(self, file: TableFile) -> None:
        self._name = file.name
        with file.open() as stream:
            _check_text(stream.read(_LONGEST_MARK), file)
        with file.open() as stream:
            content = stream.read(_LONGEST_TEXT)
        self._rows, self._problems = parse_rows(content, file.name, lines=is_json_lines(content))

    def columns(self) -> list[str]:
        """Every key that some row has, in order of appearance."""
        return list(dict.fromkeys(key for _number, row in self._rows for key in row))

    def rows(self, images: frozenset[str]) -> Iterator[Row | Problem]:
        """See `Table`."""
        yield from self._problems
        for number, row in self._rows:
            where = f"{self._name}, row {number}"
            try:
                yield number, {**row, **{key: _packed(row[key], where) for key in images & row.keys()}}
            except ImageError as error:
                yield Problem(self._name, f"image {error.what}", error.remedy, number)


def _packed(value: object, name: str) -> object:
    if isinstance(value, list):
        return [_packed(item, name) for item in value]
    return ImageBytes(from_base64(value), name) if isinstance(value, str) and value else value


@dataclass(frozen=True, slots=True)
class CsvTable:
    """Values separated by commas, semicolons or tabs, every one of them text.

    Attributes:
        file: the file.
        delimiter: what separates values.
    """

    file: TableFile
    delimiter: str = ","

    def columns(self) -> list[str]:
        """The names in the first line."""
        with self.file.open() as stream:
            try:
                return _named(next(self.records(stream, [0]), []))
            except (UnicodeDecodeError, csv.Error, *_UNREADABLE):
                return []

    def records(self, stream: io.BufferedIOBase, read: list[int]) -> Iterator[list[str]]:
        """Rows as lists of texts; `read[0]` is the number of bytes that they took, so that a row is found again."""
        csv.field_size_limit(_LONGEST_FIELD)

        def lines() -> Iterator[str]:
            for line in stream:
                text = line.decode("utf-8-sig" if read[0] == 0 else "utf-8")
                stated = read[0] == 0 and _STATED.fullmatch(text)
                read[0] += len(line)
                if not stated:
                    yield text

        return csv.reader(lines(), delimiter=self.delimiter, strict=True)

    def rows(self, images: frozenset[str]) -> Iterator[Row | Problem]:
        """See `Table`; the line of names is no row."""
        name, number, read = self.file.name, 0, [0]
        with self.file.open() as stream:
            try:
                records = self.records(stream, read)
                names = _named(next(records, []))
                repeated = next((column for column in names if names.count(column) > 1), None)
                if repeated is not None or not names:
                    what = "holds no rows" if repeated is None else f"has two columns called {repeated!r}"
                    yield Problem(name, what, "give every column a name of its own in the first line")
                    return
                start = read[0]
                for values in records:
                    begun, start = start, read[0]
                    if not values:
                        continue
                    number += 1
                    if not any(values):  # spreadsheets write them below the last row that was used
                        continue
                    if any(values[len(names) :]) or len(values) < len(names):
                        what = f"has {len(values)} values for {len(names)} columns"
                        yield Problem(name, what, "put values that hold the separator into quotes", number)
                        continue
                    row: dict[str, object] = dict(zip(names, values, strict=False))
                    for column in images & row.keys():
                        place = names.index(column)
                        row[column] = (
                            CsvImage(self, begun, place, f"{name}, row {number}") if row[column] else None
                        )
                    yield number, row
            except UnicodeDecodeError:
                yield Problem(name, "is not UTF-8 text", _AS_UTF8, number + 1)
            except _UNREADABLE as error:
                yield Problem(
                    name, f"cannot be read: {error}", "restore the file from its source", number + 1
                )
            except csv.Error as error:
                remedy = (
                    "put values that hold quotes, separators or line ends into quotes, inner quotes doubled"
                )
                yield Problem(name, f"is no table from here on: {error}", remedy, number + 1)


def open_csv(file: TableFile) -> CsvTable:
    """A file of separated values.

    Commas separate those of a .csv file and tabs those of a .tsv file, unless the line of names has none of them and
    one kind of semicolons, commas, tabs and bars, as spreadsheets write in many countries; or a line above it, `sep=;`,
    says otherwise.

    Raises:
        InvalidInputError: it is no text in UTF-8.
        OSError: it cannot be read.
    """
    with file.open() as stream:
        line = stream.readline(_LONGEST_FIELD)
    _check_text(line, file)
    names = line.decode("utf-8-sig", errors="replace")
    if (stated := _STATED.fullmatch(names)) is not None:
        return CsvTable(file, stated[1])
    usual = "\t" if file.suffix == ".tsv" else ","
    there = [separator for separator in ",;\t|" if separator in names]
    return CsvTable(file, there[0] if usual not in there and len(there) == 1 else usual)


def _named(names: list[str]) -> list[str]:
    """The columns that have a name: spreadsheets write some without one behind the last."""
    return names[: max((place for place, name in enumerate(names, start=1) if name.strip()), default=0)]


_LONGEST_MARK = 32  # bytes, in which a file tells that it is no text
_STATED = re.compile(r"sep=(.)\s*")

_AS_UTF8 = "save it as UTF-8 (in Excel: CSV UTF-8)"
_OTHERS = {
    LFS_POINTER: NOT_FETCHED,
    b"\x1f\x8b": ("is compressed by gzip", "call it .gz at its end, or unpack it"),
    b"PK\x03\x04": ("is a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV UTF-8"),
    b"\xff\xfe": ("is UTF-16 text", _AS_UTF8),
    b"\xfe\xff": ("is UTF-16 text", _AS_UTF8),
}
"""What files begin with that are called a table of text and are something else."""


def _check_text(head: bytes, file: TableFile) -> None:
    for begin, (what, remedy) in _OTHERS.items():
        if head.startswith(begin):
            raise InvalidInputError([Problem(file.name, what, remedy)])


@dataclass(frozen=True, slots=True)
class CsvImage:
    """An image as base64 in a CSV file, read when it is asked for; its digest is that of its bytes.

    Attributes:
        table: the file.
        start: the byte at which its row begins.
        place: which value of the row it is.
        name: file and row.
        frame: see `EncodedImage`.
    """

    table: CsvTable
    start: int
    place: int
    name: str
    frame: int | None = None

    @property
    def location(self) -> tuple[Path, str] | None:
        """See `FiledImage`."""
        path = self.table.file.path
        return None if path is None else (path, f"{self.start} {self.place}")

    def read(self) -> bytes:
        """The encoded bytes."""
        with self.table.file.open() as stream:
            stream.seek(self.start)
            return from_base64(next(self.table.records(stream, [self.start]))[self.place])

    def open(self) -> Image:
        """Decode the bytes completely."""
        return decode(self.read(), frame=self.frame).image

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return content_digest(self.read(), self.frame)


OPENERS: dict[str, Callable[[TableFile], Table]] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".json": JsonTable,
    ".jsonl": JsonTable,
    ".ndjson": JsonTable,
    ".parquet": lambda file: ArrowTable(ColumnFile(file)),
    ".arrow": lambda file: ArrowTable(ColumnFile(file)),
}
"""How each kind of file is opened, by its ending."""

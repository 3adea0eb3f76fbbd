"""Files of rows: CSV, TSV, JSON, JSON Lines and Parquet, in one form, and with their images left where they are.

Every table yields rows of plain values. Images that stand in the cells themselves come as image sources that read
their cell when they are asked for, so that memory does not grow with them.
"""

from __future__ import annotations

import base64
import binascii
import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medrobust_bench.data.decoding import LFS_POINTER, NOT_FETCHED, ImageError, decode
from medrobust_bench.data.image import ImageBytes, content_digest
from medrobust_bench.data.rows import is_json_lines, parse_rows
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL.Image import Image

    Row = tuple[int, dict[str, object]]

_GZIP = ".gz"
_UNREADABLE = (OSError, EOFError, zlib.error)
_LONGEST_FIELD = 2**30
_LONGEST_TEXT = 2**31  # bytes; what a compressed file unfolds to beyond it is not read
_BATCH = 1000


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
    return ImageBytes(_from_base64(value), name) if isinstance(value, str) and value else value


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
            return _from_base64(next(self.table.records(stream, [self.start]))[self.place])

    def open(self) -> Image:
        """Decode the bytes completely."""
        return decode(self.read(), frame=self.frame).image

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return content_digest(self.read(), self.frame)


@dataclass(frozen=True, slots=True)
class ColumnFile:
    """A Parquet or Arrow file as `datasets` opens it."""

    file: TableFile

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.file.name

    @property
    def path(self) -> Path | None:
        """The file that its images are in."""
        return self.file.path

    def load(self) -> Any:
        """The rows as a `datasets.Dataset`.

        Raises:
            InvalidInputError: it is no such file, or damaged.
        """
        return _columns(self.file)

    def image_file(self, path: str) -> bytes:
        """See `HubSplit.image_file`; whoever wrote the file may have meant any file of any machine."""
        what = "holds no encoded bytes, only a path"
        raise ImageError(what, "use a file with the images embedded in it")


@dataclass(frozen=True, slots=True)
class HubSplit:
    """A split of a configuration of a hub data set.

    Attributes:
        repository: owner/name, or the folder of a local copy.
        revision: branch, tag or commit; None for a local copy.
        config: the configuration, as in `datasets.load_dataset(name=…)`.
        split: as its publisher calls it.
    """

    repository: str
    revision: str | None
    config: str
    split: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.repository}, {self.place}"

    @property
    def place(self) -> str:
        """Where it is in its data set: the same on every machine."""
        return f"{self.config}/{self.split}"

    @property
    def path(self) -> Path | None:
        """The Arrow file that its images are in; None where there are several."""
        files = self.load().cache_files
        return Path(files[0]["filename"]) if len(files) == 1 else None

    def load(self) -> Any:
        """The rows as a `datasets.Dataset`.

        Raises:
            InvalidInputError: see `hub_config`.
        """
        return hub_config(self.repository, self.revision, self.config)[self.split]

    def image_file(self, path: str) -> bytes:
        """The content of an image that its row names: a file of the local copy, or one that `datasets` has fetched.

        Raises:
            ImageError: the path leads elsewhere.
            OSError: the file is not there, or cannot be read.
        """
        import datasets
        from huggingface_hub import constants

        real = Path(path).resolve()
        places = (self.repository, constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE)
        if not any(real.is_relative_to(Path(place).resolve()) for place in places):
            what = f"is a path that leads out of the data set: {path}"
            raise ImageError(what, "do not use this file; ask its publisher for one with the images in it")
        return real.read_bytes()


@lru_cache(maxsize=16)
def hub_config(repository: str, revision: str | None, config: str) -> Any:
    """A configuration of a hub data set, whole: a `datasets.DatasetDict`, by split. It is downloaded once.

    Raises:
        InvalidInputError: there is no such data set or configuration, or it cannot be reached or read.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError
    from pyarrow.lib import ArrowException

    where = repository if revision is None else f"{repository}@{revision}"
    failures = (ArrowException, datasets.exceptions.DatasetsError, HfHubHTTPError, ValueError, OSError)
    try:
        datasets.disable_progress_bars()
        return datasets.load_dataset(repository, name=config, revision=revision)
    except failures as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what = f"cannot be loaded: {reason}"
        remedy = "check its name and revision, the network, and whether it asks for a login (`hf auth login`)"
        if listed := _CONFIGS.search(reason):
            cached = " in the cache, and the hub cannot be reached" if "cache" in listed[1] else ""
            what = f"has no configuration {config!r}{cached}"
            remedy = f"choose one of: {listed[2]}"
        raise InvalidInputError([Problem(where, what, remedy)]) from error


_CONFIGS = re.compile(r"Available([^:]*): \[(.*?)\]")
"""How `datasets` lists the configurations of a data set that has no such one."""


@dataclass(frozen=True, slots=True)
class ArrowTable:
    """Rows that `datasets` keeps on disk (as Arrow, in its cache) and not in memory."""

    origin: ColumnFile | HubSplit

    def data(self) -> Any:
        """The rows as a `datasets.Dataset`; images are taken from its Arrow columns, where they are encoded."""
        return self.origin.load()

    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.data().column_names)

    def rows(self, images: frozenset[str]) -> Iterator[Row | Problem]:
        """See `Table`; columns of the hub's image type hold images whether they are named or not."""
        data = self.data()
        stored = [name for name, feature in data.features.items() if name in images or _holds_bytes(feature)]
        counts = {name: _is_list(data.features[name]) for name in stored}
        plain = data.select_columns([name for name in data.column_names if name not in stored])
        present = {name: _present(data, name, several=counts[name]) for name in stored}
        number = 0
        for batch in plain.iter(batch_size=_BATCH):
            for values in zip(*batch.values(), strict=True):
                row = dict(zip(batch, values, strict=True))
                for name in stored:
                    row[name] = self._images(number, name, present[name][number], several=counts[name])
                number += 1
                yield number, row
        if not plain.column_names:
            yield Problem(self.origin.name, "has no column besides its images", "name a file with questions")

    def _images(self, index: int, column: str, count: int, *, several: bool) -> object:
        made = [ArrowImage(self, index, column, place) for place in range(count)]
        if several:
            return made
        return made[0] if made else None


@dataclass(frozen=True, slots=True)
class ArrowImage:
    """An image in an Arrow or Parquet file, read when it is asked for; its digest is that of its bytes.

    Attributes:
        table: the file.
        index: zero-based number of the row.
        column: its column.
        place: which of several in a list.
        frame: see `EncodedImage`.
    """

    table: ArrowTable
    index: int
    column: str
    place: int = 0
    frame: int | None = None

    @property
    def name(self) -> str:
        """File and row."""
        return f"{self.table.origin.name}, row {self.index + 1}, {self.column}"

    @property
    def location(self) -> tuple[Path, str] | None:
        """See `FiledImage`."""
        path = self.table.origin.path
        return None if path is None else (path, f"{self.index} {self.place} {self.column}")

    def read(self) -> bytes:
        """The encoded bytes."""
        value = self.table.data().data.column(self.column)[self.index].as_py()
        value = value[self.place] if isinstance(value, list) else value
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            content = self.table.origin.image_file(value["path"])
        if isinstance(content, str):
            return _from_base64(content)
        if not isinstance(content, bytes):
            raise ImageError("holds no encoded bytes", "use a file with the images embedded in it")
        return content

    def open(self) -> Image:
        """Decode the bytes completely."""
        return decode(self.read(), frame=self.frame).image

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return content_digest(self.read(), self.frame)


@lru_cache(maxsize=256)
def _columns(file: TableFile) -> Any:
    import datasets
    from pyarrow.lib import ArrowException

    try:
        datasets.disable_progress_bars()
        if file.suffix == ".arrow":
            data = datasets.Dataset.from_file(str(file.path))
        else:
            data = datasets.Dataset.from_parquet(str(file.path))
    except (ArrowException, datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        what = f"cannot be read as {file.suffix[1:].capitalize()}: {reason}"
        raise InvalidInputError([Problem(file.name, what, "restore the file from its source")]) from error
    return data


def _is_list(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.List)


def _holds_bytes(feature: Any) -> bool:
    """Whether a column holds encoded images: the hub's image type, {bytes, path}, or bytes; or lists of them."""
    import datasets

    if isinstance(feature, datasets.List):
        return _holds_bytes(feature.feature)
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", "") in ("binary", "large_binary")


def _present(data: Any, column: str, *, several: bool) -> list[int]:
    """How many images every row has in a column, without reading them."""
    import pyarrow.compute as compute

    chunks = data.data.column(column)
    if several:
        return [length or 0 for length in compute.list_value_length(chunks).to_pylist()]
    return [int(there) for there in compute.is_valid(chunks).to_pylist()]


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ImageError("is no base64 text", "write the encoded image as base64")
    try:
        return base64.b64decode(text.partition(";base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"is no base64 text: {error}", "write the encoded image as base64") from error


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


def column_files(folder: Path) -> list[Path]:
    """The Parquet and Arrow files of a folder, as the hub has them or as `Dataset.save_to_disk` writes them."""
    return sorted(file for ending in ("parquet", "arrow") for file in folder.rglob(f"*.{ending}"))

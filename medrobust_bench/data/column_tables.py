"""Tables by columns: Parquet and Arrow files, and splits of the hub, as `datasets` opens them.

Images stay in their cells and are read when they are asked for, so that memory does not grow with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.decoding import ImageError, decode, from_base64
from medrobust_bench.data.image import content_digest
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from medrobust_bench.data.table import TableFile

    Row = tuple[int, dict[str, object]]

_BATCH = 1000


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
            return from_base64(content)
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


def column_files(folder: Path) -> list[Path]:
    """The Parquet and Arrow files of a folder, as the hub has them or as `Dataset.save_to_disk` writes them."""
    return sorted(file for ending in ("parquet", "arrow") for file in folder.rglob(f"*.{ending}"))

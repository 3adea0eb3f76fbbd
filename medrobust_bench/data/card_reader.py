"""Data sets by their card: shipped ones by id, a user's own by file."""

from __future__ import annotations

import glob
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.data.card_rows import Converted, convert
from medrobust_bench.data.cards import columns_of, read_card, shipped_cards
from medrobust_bench.data.column_tables import ArrowTable, HubSplit, hub_config
from medrobust_bench.data.places import (
    ArchiveImages,
    FolderImages,
    NoImages,
    archive_tables,
    folder_tables,
    hub_folder,
)
from medrobust_bench.data.rows import Reading
from medrobust_bench.data.splits import SPLIT_NAMES
from medrobust_bench.data.tables import open_table
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from medrobust_bench.data.cards import DataCard, Split
    from medrobust_bench.data.places import Images
    from medrobust_bench.data.reader import Request
    from medrobust_bench.data.table import Table, TableFile

    _Split = Split | Literal["all"]


class Cards:
    """Data sets that a data card describes."""

    name = "data card"
    reads = "the id of a data card (`medrobust data list`), `ID=FOLDER` for a local copy of its files, or a card (.md)"

    def recognises(self, source: str) -> bool:
        """Whether it is a shipped id, alone or with a folder, or a Markdown file."""
        card, _folder = _parts(source)
        return card in shipped_cards() or (source.endswith(".md") and Path(source).is_file())

    def read(self, source: str, request: Request) -> Reading:
        """The questions that the card describes; see `read_by_card`."""
        card_id, folder = _parts(source)
        path = shipped_cards().get(card_id, Path(source))
        card = read_card(path)
        if folder is not None and not folder.is_dir():
            raise InvalidInputError(
                [Problem(str(folder), "is no folder", f"name the folder with the files of {card.id}")]
            )
        if folder is None and card.source.folder is not None:
            folder = path.parent / card.source.folder
        reading = read_by_card(card, folder, request)
        if card.source.near is None:
            return reading
        from medrobust_bench.data.near import read_clusters

        return replace(reading, near=read_clusters(path.parent / card.source.near))


def _parts(source: str) -> tuple[str, Path | None]:
    card, equals, folder = source.partition("=")
    return (card, Path(folder)) if equals and folder else (source, None)


def read_by_card(card: DataCard, folder: Path | None, request: Request) -> Reading:
    """Read a data set as its card says.

    Args:
        card: the card.
        folder: where its files are; None to take them from the hub's cache, or download them.
        request: see `Request`.

    Raises:
        InvalidInputError: its files are not there.
    """
    held = (
        _in_files(card, folder, request) if card.source.config is None else _in_config(card, folder, request)
    )
    images, no_images = _images(card, held.folder, request)
    parts = [_convert(card, split, place, table, images, request) for split, place, table in held.tables]
    problems = [problem for part in parts for problem in part.problems]
    problems += _unexpected(card, [split for split, _place, _table in held.tables], parts)
    return Reading(
        card.id,
        tuple(row for part in parts for row in part.questions),
        tuple(problems),
        tuple(row for part in parts for row in part.skipped),
        no_images=no_images,
        notes=(*held.notes, *images.notes()),
        digests={split: expected.digest for split, expected in card.expect.items() if expected.digest},
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """What a card's source holds.

    Attributes:
        folder: of its files; None where the images stand in the rows.
        tables: the rows, each with its split and place.
        notes: where they come from.
    """

    folder: Path | None
    tables: list[tuple[str, TableFile | HubSplit, Table]]
    notes: tuple[str, ...] = ()


def _in_files(card: DataCard, folder: Path | None, request: Request) -> _Held:
    source = card.source
    patterns = _wanted(source.files, request)
    notes: tuple[str, ...] = ()
    if folder is None:
        rows = [source.archive] if source.archive else [name for files in patterns.values() for name in files]
        names = [*rows, *_image_patterns(card, request)]
        folder = hub_folder(source.hub or "", source.revision, names, download=request.download)
        notes = (f"{card.title}: {source.hub} at {folder.name}",)
    files = [(split, file) for split, names in patterns.items() for file in _tables(card, folder, names)]
    if patterns and not files:
        what = f"holds no {' or '.join(name for names in patterns.values() for name in names)}"
        raise InvalidInputError(
            [Problem(str(folder), what, "check the folder, or the card's `source.files`")]
        )
    return _Held(folder, [(split, file, open_table(file)) for split, file in files], notes)


def _in_config(card: DataCard, folder: Path | None, request: Request) -> _Held:
    source = card.source
    config = source.config or ""
    place, revision = (source.hub or "", source.revision) if folder is None else (str(folder), None)
    there = hub_config(place, revision, config)
    splits: Mapping[_Split, tuple[str, ...]] = source.splits or {
        SPLIT_NAMES[name]: tuple(other for other in there if SPLIT_NAMES.get(other) == SPLIT_NAMES[name])
        for name in there
        if name in SPLIT_NAMES
    }
    absent = [name for names in splits.values() for name in names if name not in there]
    if absent or not splits:
        what = f"configuration {config} has no split {', '.join(absent) or 'of a usual name'}"
        remedy = (
            f"say in `source.splits` which of its splits is train, validation or test: {', '.join(there)}"
        )
        raise InvalidInputError([Problem(place, what, remedy)])
    notes: tuple[str, ...] = ()
    if folder is None:
        notes = (f"{card.title}: {source.hub}, configuration {config}, at {source.revision}",)
        if names := _image_patterns(card, request):
            folder = hub_folder(place, source.revision, names, download=request.download)
    wanted = [
        (split, HubSplit(place, revision, config, name))
        for split, names in _wanted(splits, request).items()
        for name in names
    ]
    return _Held(folder, [(split, of_hub, ArrowTable(of_hub)) for split, of_hub in wanted], notes)


def _wanted(splits: Mapping[_Split, tuple[str, ...]], request: Request) -> dict[str, tuple[str, ...]]:
    return {
        split: names for split, names in splits.items() if split == "all" or request.split in ("all", split)
    }


def _image_patterns(card: DataCard, request: Request) -> list[str]:
    """What else to fetch from the hub."""
    place = card.source.images
    return [] if place is None or request.images is not None else [place, f"{place}/**"]


def _tables(card: DataCard, folder: Path, patterns: tuple[str, ...]) -> list[TableFile]:
    if any(Path(pattern).is_absolute() or ".." in Path(pattern).parts for pattern in patterns):
        remedy = "write patterns relative to the data set's folder"
        raise InvalidInputError([Problem(card.id, "`source.files` leaves the data set's folder", remedy)])
    if card.source.archive is not None:
        return archive_tables(folder / card.source.archive, patterns)
    return folder_tables(folder, patterns)


def _images(card: DataCard, folder: Path | None, request: Request) -> tuple[Images, Problem | None]:
    """Where image paths lead, and what is wrong where that is not there."""
    if request.images is not None:
        return FolderImages(request.images, chosen=True), None
    if folder is None:
        return NoImages(), None
    if card.source.images is None:
        archive = card.source.archive
        return (FolderImages(folder) if archive is None else ArchiveImages(folder / archive)), None
    place = folder / card.source.images
    unpacked = place.with_suffix("") if place.suffix == ".zip" else place
    if place.suffix == ".zip" and place.is_file():
        return ArchiveImages(place), None
    if unpacked.is_dir():
        return FolderImages(unpacked, chosen=True), None
    remedy = "put it there, or name the folder of the images (--images)"
    return FolderImages(folder), Problem(str(place), "is not there", remedy)


def _convert(
    card: DataCard, split: str, file: TableFile | HubSplit, table: Table, images: Images, request: Request
) -> Converted:
    there = set(table.columns())
    missing = [column for column in columns_of(card) if column not in there]
    if there and missing:
        what = f"has no column {' or '.join(f'`{column}`' for column in missing)}"
        remedy = f"name one of its columns in the card: {', '.join(sorted(there))}"
        return Converted((), (Problem(file.name, what, remedy),), (), 0)
    encoded = frozenset(card.image.columns if card.image.encoding == "base64" else ())
    return convert(
        table.rows(encoded),
        card,
        images,
        where=file.name,
        place=file.place,
        split=None if split == "all" else split,
        wanted=request.split,
    )


def _unexpected(card: DataCard, splits: Sequence[str], parts: Sequence[Converted]) -> list[Problem]:
    """Splits with another number of rows than the card expects."""
    problems = []
    for split, expected in card.expect.items():
        counted = [part.rows for of_split, part in zip(splits, parts, strict=True) if of_split == split]
        if counted and expected.rows is not None and sum(counted) != expected.rows:
            what = f"{split} holds {sum(counted)} rows, and its card expects {expected.rows}"
            remedy = "fetch the revision that the card names, or correct `expect` in a card of your own"
            problems.append(Problem(card.id, what, remedy))
    return problems


def escaped(name: str) -> str:
    """A file's name as a pattern that fits nothing else."""
    return glob.escape(name)


CARDS = Cards()

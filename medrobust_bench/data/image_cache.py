"""What was found out about images on earlier openings, so that a large data set opens at once the next time.

An entry is about an image file, or about an image in a table or archive, and holds only as long as the size of that
file, its times of change (content and status, in nanoseconds) and its inode are those that it had before it was read:
whoever edits or exchanges a file changes one of them, even where the size and the time of the content are set back.
Like git's index, it holds nothing about files that were changed within the last moments before they were read, since a
clock may be too coarse to tell a second change from the first.

The cache spares work and proves nothing: verification reads every file itself.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import PIL

from medrobust_bench.data.image_state import ImageState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medrobust_bench.data.image import ImageSource

SETTLED_NS = 3_000_000_000
"""A file that was changed less than this before it was looked at is not remembered."""

_RULES = 1
"""Raise it whenever images are decoded by other rules: entries of other rules are passed over."""
_SOFTWARE = f"{_RULES} {PIL.__version__}"
_TABLE = """CREATE TABLE IF NOT EXISTS located (
    path TEXT, place TEXT, frame INTEGER, software TEXT, stamp TEXT, digest TEXT, height INTEGER, width INTEGER,
    steps TEXT, PRIMARY KEY (path, place, frame)) WITHOUT ROWID"""
_NO_FRAME = -1
_BETWEEN = "\x1f"
_FAILURES = (sqlite3.Error, OSError, UnicodeError)  # names that are no text cannot be stored
_DIGEST = re.compile(r"[0-9a-f]{64}")


def cache_folder() -> Path:
    """`$MEDROBUST_CACHE`, or `medrobust` in the user's folder for caches."""
    chosen = os.environ.get("MEDROBUST_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or os.path.expanduser("~/.cache")) / "medrobust"  # noqa: PTH111 (pathlib raises without a home)


def _name(file: str | Path) -> str:
    path = file if type(file) is str else str(file)
    if path.startswith("/") or os.path.isabs(path):  # noqa: PTH117 (of very many files, as below)
        return path
    return os.path.abspath(path)  # noqa: PTH100


def stamps_of(sources: Iterable[ImageSource]) -> dict[str, str | None]:
    """The stamps of the files that images are in, by name; see `stamp_of`. Each is looked at once, at most."""
    stamps: dict[str, str | None] = {}
    for source in sources:
        location = located_at(source)
        if location is not None and (name := _name(location[0])) not in stamps:
            stamps[name] = getattr(source, "stamp", None) or _stamp(name)
    return stamps


def located_at(source: ImageSource) -> tuple[str | Path, str] | None:
    """Where an image is on disk; None where it is not, or another package's source does not say."""
    location: tuple[str | Path, str] | None = getattr(source, "location", None)
    return location


def _stamp(name: str) -> str | None:
    try:
        return stamp_of(os.stat(name))  # noqa: PTH116 (of very many files)
    except (OSError, ValueError):
        return None


def stamp_of(seen: os.stat_result) -> str | None:
    """What changes when a file is changed; None where that was just now, so that a second change might not show."""
    if max(seen.st_mtime_ns, seen.st_ctime_ns) > time.time_ns() - SETTLED_NS:
        return None
    return f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino}"


@dataclass(frozen=True, slots=True)
class ImageCache:
    """States of images on disk, in an SQLite file that several processes may share.

    Where it cannot be read or written, nothing is remembered, and nothing else happens.

    Attributes:
        path: of the file.
    """

    path: Path

    def recall(
        self, sources: Iterable[ImageSource], stamps: Mapping[str, str | None]
    ) -> dict[ImageSource, ImageState]:
        """What still holds of what is known about these images.

        Args:
            sources: the images.
            stamps: of their files, as they are now.
        """
        if not stamps or not self.path.exists():
            return {}
        wanted: dict[tuple[str, str, int], ImageSource] = {}
        for source in sources:
            location = located_at(source)
            if location is not None:
                wanted[_name(location[0]), location[1], _frame(source)] = source
        known: dict[ImageSource, ImageState] = {}
        with suppress(*_FAILURES), closing(sqlite3.connect(self.path, timeout=5)) as connection:
            rows = connection.execute(
                "SELECT path, place, frame, stamp, digest, height, width, steps FROM located"
                " WHERE path BETWEEN ? AND ? AND software = ?",
                (min(stamps), max(stamps), _SOFTWARE),
            )
            for path, place, frame, stamp, digest, height, width, steps in rows:
                known_as = wanted.get((path, place, frame))
                if known_as is None or not stamp or stamps[path] != stamp or not _DIGEST.fullmatch(digest):
                    continue
                shape = None if height is None or width is None else (height, width)
                made = tuple(steps.split(_BETWEEN)) if steps else ()
                known[known_as] = ImageState(digest, None, "", made, shape)
        return known

    def keep(
        self, states: Iterable[tuple[ImageSource, ImageState]], stamps: Mapping[str, str | None]
    ) -> None:
        """Remember states of images; faults are not kept.

        Args:
            states: what was found.
            stamps: of their files, as they were before they were read.
        """
        rows = []
        for source, state in states:
            location = located_at(source)
            if location is None or state.digest is None or state.fault is not None:
                continue
            path, place = location
            name = _name(path)
            stamp = stamps[name]
            if stamp is None:
                continue
            height, width = state.shape or (None, None)
            found = (state.digest, height, width, _BETWEEN.join(state.steps))
            rows.append((name, place, _frame(source), _SOFTWARE, stamp, *found))
        if not rows:
            return
        with suppress(*_FAILURES):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
                connection.execute(_TABLE)
                connection.executemany(
                    "INSERT OR REPLACE INTO located VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )


def _frame(source: ImageSource) -> int:
    frame: int | None = getattr(source, "frame", None)
    return _NO_FRAME if frame is None else frame


def image_cache() -> ImageCache:
    """The user's."""
    return ImageCache(cache_folder() / "images.sqlite")

"""What was found out about image files on earlier openings, so that a large data set opens at once the next time.

An entry holds for a file only as long as its size, its times of change (content and status, in nanoseconds) and its
inode are those that it had before it was read: whoever edits or exchanges a file changes one of them, even where the
size and the time of the content are set back. Like git's index, it holds nothing about files that were changed within
the last moments before they were read, since a clock may be too coarse to tell a second change from the first.

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

from medrobust_bench.data.image import ImageFile
from medrobust_bench.data.image_state import ImageState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medrobust_bench.data.image import ImageSource

SETTLED_NS = 3_000_000_000
"""A file that was changed less than this before it was read is not remembered."""

_RULES = 1
"""Raise it whenever images are decoded by other rules: entries of other rules are passed over."""
_SOFTWARE = f"{_RULES} {PIL.__version__}"
_TABLE = """CREATE TABLE IF NOT EXISTS images (
    path TEXT, frame INTEGER, software TEXT, stamp TEXT, digest TEXT, height INTEGER, width INTEGER, steps TEXT,
    PRIMARY KEY (path, frame)) WITHOUT ROWID"""
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


def _name(file: ImageFile) -> str:
    path = str(file.path)
    return path if os.path.isabs(path) else os.path.abspath(path)  # noqa: PTH100, PTH117 (of very many files)


def stamp_of(file: ImageFile) -> tuple[str, int] | None:
    """What changes when a file is changed, and the time of its last change in ns; None where it cannot be seen."""
    try:
        seen = os.stat(file.path)  # noqa: PTH116 (of very many files)
    except (OSError, ValueError):
        return None
    return f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino}", max(
        seen.st_mtime_ns, seen.st_ctime_ns
    )


@dataclass(frozen=True, slots=True)
class ImageCache:
    """States of image files, in an SQLite file that several processes may share.

    Where it cannot be read or written, nothing is remembered, and nothing else happens.

    Attributes:
        path: of the file.
    """

    path: Path

    def recall(self, sources: Iterable[ImageSource]) -> dict[ImageSource, ImageState]:
        """What still holds of what is known about these images."""
        files = [source for source in sources if isinstance(source, ImageFile)]
        if not files or not self.path.exists():
            return {}
        entries: dict[tuple[str, int], tuple[str, str, int | None, int | None, str]] = {}
        names = [_name(file) for file in files]
        with suppress(*_FAILURES), closing(sqlite3.connect(self.path, timeout=5)) as connection:
            rows = connection.execute(
                "SELECT path, frame, stamp, digest, height, width, steps FROM images"
                " WHERE path BETWEEN ? AND ? AND software = ?",
                (min(names), max(names), _SOFTWARE),
            )
            entries = {row[:2]: row[2:] for row in rows}
        if not entries:
            return {}
        known: dict[ImageSource, ImageState] = {}
        for name, file in zip(names, files, strict=True):
            entry = entries.get((name, _NO_FRAME if file.frame is None else file.frame))
            if entry is None:
                continue
            stamp, digest, height, width, steps = entry
            now = stamp_of(file)
            if now is None or now[0] != stamp or not _DIGEST.fullmatch(digest):
                continue
            shape = None if height is None or width is None else (height, width)
            known[file] = ImageState(digest, shape=shape, steps=tuple(steps.split(_BETWEEN)) if steps else ())
        return known

    def keep(self, states: Mapping[ImageSource, tuple[ImageState, tuple[str, int] | None]]) -> None:
        """Remember states of images, each with the stamp that its file had before it was read; faults are not kept."""
        latest = time.time_ns() - SETTLED_NS
        rows = []
        for source, (state, stamp) in states.items():
            if not isinstance(source, ImageFile) or stamp is None or stamp[1] > latest:
                continue
            if state.digest is None or state.fault is not None:
                continue
            height, width = state.shape or (None, None)
            frame = _NO_FRAME if source.frame is None else source.frame
            steps = _BETWEEN.join(state.steps)
            rows.append((_name(source), frame, _SOFTWARE, stamp[0], state.digest, height, width, steps))
        if not rows:
            return
        with suppress(*_FAILURES):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def image_cache() -> ImageCache:
    """The user's."""
    return ImageCache(cache_folder() / "images.sqlite")

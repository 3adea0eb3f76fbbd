"""Image files of a data set: where they lie, whether they decode, what their content is."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from medrobust_bench.data.rows import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MISSING = "image is missing"

# Pillow's decoders let these through besides OSError when a file is damaged or hostile.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class ImageState:
    """What one image file turned out to be.

    Attributes:
        digest: hex SHA-256 of the file; None where it could not be read.
        fault: what is wrong with it; None where nothing is, or where it was not asked to be decoded.
    """

    digest: str | None
    fault: str | None


class ImageFolder:
    """The folder that a data set's image paths are relative to; no path leads out of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve()
        # Images share few folders: resolving each folder once is several times faster than each image.
        self._inside: dict[str, bool] = {}

    def locate(self, name: str) -> Path:
        """Where the image that a data set calls `name` should be.

        Raises:
            RowError: the path is absolute, leaves the folder (by "..", or through a symbolic link), or is no path.
        """
        remedy = "write the image path relative to the data set's folder and keep the file inside it"
        if "\\" in name or "\0" in name:
            raise RowError(f"image path {name!r} has a backslash or a zero byte in it", remedy)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            raise RowError(f"image path {name!r} is absolute", remedy)
        if ".." in name.split("/"):
            raise RowError(f"image path {name!r} leaves the data set's folder", remedy)
        path = self.path / name
        folder = name.rpartition("/")[0]
        if folder not in self._inside:
            self._inside[folder] = self._holds(self.path / folder)
        if not self._inside[folder] or (os.path.islink(path) and not self._holds(path)):  # noqa: PTH114
            what = f"image path {name!r} leads out of the data set's folder through a symbolic link"
            raise RowError(
                what, "put the file itself there, or name the folder that the link leads to as `images`"
            )
        return path

    def _holds(self, path: Path) -> bool:
        # os.path, since pathlib raises on loops of links (up to Python 3.12) and on names that are too long.
        return Path(os.path.realpath(path)).is_relative_to(self.path)


def inspect(paths: Iterable[Path], *, decode: Callable[[Path, str], bool]) -> dict[Path, ImageState]:
    """Read every distinct file once, in parallel; hash it, and decode it where wanted.

    Args:
        paths: image files, repeats allowed.
        decode: whether to decode a file, given its path and the digest of its content.
    """
    distinct = list(dict.fromkeys(paths))
    # Reading, hashing and decoding all release the interpreter lock.
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 4)) as pool:
        return dict(zip(distinct, pool.map(lambda path: _inspect(path, decode), distinct), strict=True))


def _inspect(path: Path, decode: Callable[[Path, str], bool]) -> ImageState:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ImageState(None, MISSING)
    except OSError as error:
        return ImageState(None, f"image cannot be read: {error.strerror}")
    digest = hashlib.sha256(content).hexdigest()
    if not decode(path, digest):
        return ImageState(digest, None)
    try:
        image = Image.open(io.BytesIO(content))
        # A JPEG decoded at an eighth of its size still reads every coded byte, several times faster.
        image.draft(image.mode, (1, 1))
        # What the canonical image does next can fail as well: odd orientation tags, colour spaces without RGB.
        ImageOps.exif_transpose(image).convert("RGB")
    except _DECODING_ERRORS as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        return ImageState(digest, f"image cannot be decoded: {reason}")
    return ImageState(digest, None)

"""Images: where they come from, and the canonical form in which every budget is stated.

The canonical image is 8-bit RGB with its longest side at most 384 pixels (as in Med-R1), aspect kept.
Every perturbation budget refers to it, with pixels scaled to [0, 1].
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, ImageOps

from medrobust_bench.data.decoding import decode, read_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LONGEST_SIDE = 384


class ImageSource(Protocol):
    """Anything an image can be read from."""

    @property
    def name(self) -> str:
        """What to call this image in messages (a path, "phantom 12")."""
        ...

    def open(self) -> Image.Image:
        """Decode the image; raises OSError when it is missing or unreadable."""
        ...

    def digest(self) -> str:
        """Hex SHA-256 of the image's content, equal on every machine."""
        ...


class EncodedImage(ImageSource, Protocol):
    """An image source that is a file's content, on disk or elsewhere; equal sources have equal content."""

    def read(self) -> bytes:
        """The encoded bytes; raises FileNotFoundError where they are missing, OSError where they cannot be read."""
        ...

    @property
    def frame(self) -> int | None:
        """Which frame of a file with several is meant, counted from 0; None: the file must have one."""
        ...


class FiledImage(EncodedImage, Protocol):
    """An encoded image on disk, whose content stays the same as long as one file does."""

    @property
    def location(self) -> tuple[Path | str, str] | None:
        """That file, and the place in it ("" where the image is all of it); None where it is on no disk."""
        ...


def content_digest(content: bytes, frame: int | None = None) -> str:
    """Hex SHA-256 of an encoded image; one frame of a file is another image than the next."""
    digest = hashlib.sha256(content)
    if frame is not None:
        digest.update(f"\x1fframe {frame}".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, init=False)
class ImageFile:
    """An image file; its digest is that of the file's bytes.

    Attributes:
        name: its path, as text: a hundred thousand of them are keys often.
        frame: see `EncodedImage`.
        stamp: of the file as it was found (`image_cache.stamp_of`); None where it was not looked at.
    """

    name: str
    frame: int | None = None
    stamp: str | None = field(default=None, compare=False, repr=False)

    def __init__(self, path: str | Path, frame: int | None = None, stamp: str | None = None) -> None:
        make = object.__setattr__
        make(self, "name", path if type(path) is str else os.fspath(path))
        make(self, "frame", frame)
        make(self, "stamp", stamp)

    @property
    def path(self) -> Path:
        """The path."""
        return Path(self.name)

    @property
    def location(self) -> tuple[str, str]:
        """See `FiledImage`."""
        return self.name, ""

    def read(self) -> bytes:
        """The file's bytes."""
        return self.path.read_bytes()

    def open(self) -> Image.Image:
        """Decode the file completely, so that a truncated one fails here."""
        return decode(self.read(), frame=self.frame).image

    def digest(self) -> str:
        """SHA-256 of the file."""
        return content_digest(self.read(), self.frame)


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An encoded image in memory (an upload, an image of a test); its digest is that of the bytes."""

    data: bytes
    name: str = "image bytes"
    frame: int | None = None

    def read(self) -> bytes:
        """The bytes."""
        return self.data

    def open(self) -> Image.Image:
        """Decode the bytes completely."""
        return decode(self.data, frame=self.frame).image

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return content_digest(self.data, self.frame)


@dataclass(frozen=True, eq=False, slots=True)
class DecodedImage:
    """A canonical image that has been decoded already.

    Attributes:
        pixels: uint8 [H, W, 3].
        source: where it is from, which alone tells its name and digest.
    """

    pixels: NDArray[np.uint8]
    source: ImageSource

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def open(self) -> Image.Image:
        """The pixels as an image."""
        return Image.fromarray(self.pixels)

    def digest(self) -> str:
        """That of the source."""
        return self.source.digest()


def canonical(source: ImageSource) -> NDArray[np.uint8]:
    """The canonical image of a source.

    Returns:
        uint8 array [H, W, 3], longest side at most `LONGEST_SIDE`.

    Raises:
        OSError: the image is missing or cannot be decoded.
    """
    image = ImageOps.exif_transpose(source.open()).convert("RGB")
    size = canonical_size(image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.array(image, dtype=np.uint8)


def canonical_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the canonical image of an image of that width and height."""
    scale = LONGEST_SIDE / max(size)
    if scale >= 1:
        return size
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a uint8 [H, W, 3] image losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def from_png(data: bytes) -> NDArray[np.uint8]:
    """Decode PNG bytes to uint8 [H, W, 3]."""
    return np.array(read_png(data).convert("RGB"), dtype=np.uint8)


def fitted(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A canonical image [H, W, 3] in another image's place: resized to (height, width) where it has another."""
    if image.shape[:2] == shape:
        return image
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def rows_of_one_shape(images: Sequence[NDArray[np.uint8]], size: int) -> list[list[int]]:
    """Positions of images that go together: of one shape, at most so many."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(row)
    return [rows[start : start + size] for rows in by_shape.values() for start in range(0, len(rows), size)]

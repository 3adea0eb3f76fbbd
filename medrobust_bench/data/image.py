"""Images: where they come from, and the canonical form in which every budget is stated.

The canonical image is 8-bit RGB with its longest side at most 384 pixels (as in Med-R1), aspect kept.
Every perturbation budget refers to it, with pixels scaled to [0, 1].
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file; its digest is that of the file's bytes."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def open(self) -> Image.Image:
        """Decode the file completely, so that a truncated one fails here."""
        image = Image.open(self.path)
        image.load()
        return image

    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An encoded image in memory (a Parquet column, an upload); its digest is that of the bytes."""

    data: bytes
    name: str = "image bytes"

    def open(self) -> Image.Image:
        """Decode the bytes completely."""
        image = Image.open(io.BytesIO(self.data))
        image.load()
        return image

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def canonical(source: ImageSource) -> NDArray[np.uint8]:
    """The canonical image of a source.

    Returns:
        uint8 array [H, W, 3], longest side at most `LONGEST_SIDE`.

    Raises:
        OSError: the image is missing or cannot be decoded.
    """
    image = ImageOps.exif_transpose(source.open())
    if image.mode in ("I;16", "I", "F"):  # 16-bit greyscale: PIL's own conversion would clip at 255
        levels = np.asarray(image, dtype=np.float64)
        low, high = float(levels.min()), float(levels.max())
        scaled = np.zeros_like(levels) if high == low else (levels - low) / (high - low) * 255
        image = Image.fromarray(scaled.round().astype(np.uint8))
    image = image.convert("RGB")
    scale = LONGEST_SIDE / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.array(image, dtype=np.uint8)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a uint8 [H, W, 3] image losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def from_png(data: bytes) -> NDArray[np.uint8]:
    """Decode PNG bytes to uint8 [H, W, 3]."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.uint8)


def fitted(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A canonical image [H, W, 3] in another image's place: resized to (height, width) where it has another."""
    if image.shape[:2] == shape:
        return image
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))

"""What a witness may look like as a file: a plain 8-bit RGB PNG, so that whoever opens it sees what was judged."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PLAIN = struct.pack(">5B", 8, 2, 0, 0, 0)
"""Of a header: 8 bits, RGB, deflate, the five filters, not interlaced."""


class NotPlainError(ValueError):
    """A file that is something else, or something more; says what."""


def read_plain(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] of a PNG that holds them and nothing else.

    Chunks beside the pixels (gamma, profiles, transparency, animation, whatever stands behind the end) change what some
    viewers show, or carry what nobody looks at.

    Args:
        content: of the file.
        size: (width, height) that it must have; a file that says otherwise is not unpacked.

    Raises:
        NotPlainError: saying what is wrong.
    """
    if not content.startswith(SIGNATURE):
        raise NotPlainError("is no PNG")
    place = len(SIGNATURE)
    kinds: list[bytes] = []
    packed: list[bytes] = []
    while place < len(content):
        head = content[place : place + 8]
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        data, tail = (
            content[place + 8 : place + 8 + length],
            content[place + 8 + length : place + 12 + length],
        )
        if tail != struct.pack(">I", zlib.crc32(kind + data)):
            raise NotPlainError("is damaged or cut off")
        if not kinds:
            _check_header(kind, data, size)
        kinds.append(kind)
        if kind == b"IDAT":
            packed.append(data)
        place += 12 + length
    if kinds[-1:] != [b"IEND"] or set(kinds[1:-1]) != {b"IDAT"}:
        others = sorted({kind.decode("ascii", "replace") for kind in kinds[1:-1]} - {"IDAT"})
        raise NotPlainError(f"holds more than pixels: {', '.join(others) or 'no end, or none at all'}")
    _check_stream(b"".join(packed), size)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise NotPlainError(f"cannot be decoded: {str(error).splitlines()[0]}") from error


def _check_header(kind: bytes, data: bytes, size: tuple[int, int]) -> None:
    if kind != b"IHDR" or len(data) != 13:
        raise NotPlainError("has no header")
    width, height = struct.unpack(">II", data[:8])
    if data[8:] != PLAIN:
        raise NotPlainError("is not 8-bit RGB without interlacing")
    if (width, height) != size:
        raise NotPlainError(f"has {width} × {height} pixels, the clean one {size[0]} × {size[1]}")


def _check_stream(packed: bytes, size: tuple[int, int]) -> None:
    """The compressed pixels end where the pixels end, and are not blown up to carry something else."""
    width, height = size
    expected = height * (1 + 3 * width)
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(packed, expected + 1)
    except zlib.error as error:
        raise NotPlainError(f"cannot be decoded: {error}") from error
    if len(rows) != expected or unpacker.unused_data or unpacker.unconsumed_tail:
        raise NotPlainError("holds more than pixels, or fewer than it says, in its compressed data")
    if len(packed) > expected * 1.01 + 1000:
        raise NotPlainError("is larger than its pixels uncompressed")

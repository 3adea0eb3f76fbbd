"""Pixels of any depth and byte order become 8 bits by the stated rules; nothing but the stated formats is opened."""

from __future__ import annotations

import gzip
import io
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medrobust_bench.data import decoding
from medrobust_bench.data.decoding import (
    FORMATS,
    HEADER_RANGE,
    INVERTED,
    OWN_RANGE,
    UPRIGHT,
    ImageError,
    decode,
)
from medrobust_bench.data.image import ImageBytes, canonical

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SHORT, FLOAT = 3, 11
TYPES = {SHORT: "H", FLOAT: "f"}


def tiff(
    levels: NDArray[np.generic],
    order: str,
    *,
    photometric: int = 1,
    tags: Sequence[tuple[int, int, float]] = (),
) -> bytes:
    """An uncompressed grey TIFF of any depth, written by hand: the byte order is that of the test."""
    data = levels.astype(levels.dtype.newbyteorder(order)).tobytes()
    height, width = levels.shape
    bits, sample = 8 * levels.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[levels.dtype.kind]
    entries: list[tuple[int, int, float]] = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8),
        (277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, sample), *tags,
    ]  # fmt: skip
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, value in sorted(entries):
        cell = struct.pack(order + {3: "H", 4: "I", 11: "f"}[kind], value if kind == 11 else int(value))
        directory += struct.pack(order + "HHI", tag, kind, 1) + cell.ljust(4, b"\0")
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8 + len(data))
    return head + data + directory + bytes(4)


RAMP = np.arange(64 * 64).reshape(64, 64)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "f4"])
def test_deep_grey_of_either_byte_order_is_stretched_alike(kind: str, order: str) -> None:
    decoded = decode(tiff(RAMP.astype(kind) - (2000 if kind[0] == "i" else 0), order))
    expected = np.round(RAMP / RAMP.max() * 255)
    assert np.array_equal(np.asarray(decoded.image), expected)
    assert decoded.steps == (OWN_RANGE,)


@pytest.mark.parametrize("order", "<>")
def test_the_range_of_the_header_goes_before_the_images_own(order: str) -> None:
    tags = ((280, SHORT, 0), (281, SHORT, 8190))
    decoded = decode(tiff(RAMP.astype("u2"), order, tags=tags))
    assert np.array_equal(np.asarray(decoded.image), np.round(RAMP / 8190 * 255))
    assert decoded.steps == (HEADER_RANGE,)
    narrow = decode(tiff(RAMP.astype("f4"), order, tags=((340, FLOAT, 1000.0), (341, FLOAT, 2000.0))))
    assert np.array_equal(np.asarray(narrow.image), np.round((RAMP.clip(1000, 2000) - 1000) / 1000 * 255))


def test_a_range_that_is_none_is_no_range() -> None:
    assert decode(tiff(RAMP.astype("u2"), "<", tags=((280, SHORT, 7), (281, SHORT, 7)))).steps == (OWN_RANGE,)


def test_white_is_zero_is_inverted() -> None:
    plain, inverted = (decode(tiff(RAMP.astype("u2"), "<", photometric=kind)) for kind in (1, 0))
    assert np.array_equal(255 - np.asarray(plain.image), np.asarray(inverted.image))
    assert inverted.steps == (OWN_RANGE, INVERTED)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_number_are_refused(bad: float) -> None:
    levels = RAMP.astype("f4")
    levels[3, 4:6] = bad
    with pytest.raises(ImageError, match="2 of its 4096 pixels are no number"):
        decode(tiff(levels, "<"))


def test_a_flat_deep_image_is_black() -> None:
    assert not np.asarray(decode(tiff(np.full((8, 8), 700, "u2"), ">")).image).any()


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from("<>"))
def test_order_of_levels_is_kept(one: int, other: int, order: str) -> None:
    levels = np.array([[one, other, 0, 65535]], dtype="u2")
    first, second = np.asarray(decode(tiff(levels, order)).image)[0, :2].astype(int)
    assert (first - second) * (one - other) >= 0
    assert abs(first - one / 257) <= 0.5


def test_a_16_bit_png_is_stretched_and_colour_keeps_its_upper_bits() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RAMP.astype("u2")).save(buffer, "PNG")
    assert np.array_equal(np.asarray(decode(buffer.getvalue()).image), np.round(RAMP / RAMP.max() * 255))


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_stated_format_is_read(image_format: str) -> None:
    picture = Image.new("RGB", (20, 10), (200, 30, 60))
    assert decode(encoded(picture, image_format)).image.size == (20, 10)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "is an empty file"), (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS")],
)
def test_files_that_were_not_fetched_are_told(content: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        decode(content)


@pytest.mark.parametrize("image_format", ["PDF", "ICO", "TGA", "PCX", "SGI", "EPS"])
def test_no_other_format_is_opened(image_format: str) -> None:
    with pytest.raises(ImageError, match="not an image of a format that is read"):
        decode(encoded(Image.new("RGB", (32, 32)), image_format))


def test_an_eps_file_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "gs"
    fake.write_text(f"#!/bin/sh\necho started >> {tmp_path}/marker\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"
    for look in (lambda: decode(content), lambda: canonical(ImageBytes(content))):
        with pytest.raises(ImageError):
            look()
    assert not (tmp_path / "marker").exists()


def test_orientation_is_applied_once() -> None:
    exif = Image.Exif()
    exif[274] = 6
    content = encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)
    decoded = decode(content)
    assert (decoded.image.size, decoded.steps) == ((20, 40), (UPRIGHT,))
    assert canonical(ImageBytes(content)).shape == (40, 20, 3)
    deep = decode(tiff(RAMP[:10].astype("u2"), "<", tags=((274, SHORT, 6),)))
    assert (deep.image.size, deep.steps) == ((10, 64), (OWN_RANGE, UPRIGHT))


def frames(count: int) -> bytes:
    pictures = [Image.new("L", (16, 12), 40 * number) for number in range(count)]
    return encoded(pictures[0], "TIFF", save_all=True, append_images=pictures[1:])


def test_several_frames_are_refused_or_chosen() -> None:
    with pytest.raises(ImageError, match="holds 3 frames"):
        decode(frames(3))
    chosen = decode(frames(3), frame=2)
    assert (chosen.image.getpixel((0, 0)), chosen.steps) == (80, ("frame 2",))
    for missing in (3, -1):
        with pytest.raises(ImageError, match=f"no frame {missing}"):
            decode(frames(3), frame=missing)
    assert ImageBytes(frames(3), frame=1).digest() != ImageBytes(frames(3), frame=2).digest()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("size", "place", "magic"), [(348, 344, b"n+1\0"), (540, 4, b"n+2\0")])
def test_nifti_is_named(pack: object, size: int, place: int, magic: bytes) -> None:
    header = bytearray(600)
    header[:4] = size.to_bytes(4, "little")
    header[place : place + 4] = magic
    with pytest.raises(ImageError, match="NIfTI volume") as caught:
        decode(pack(bytes(header)))  # type: ignore[operator]
    assert "slice" in caught.value.remedy


def test_dicom_without_pydicom_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "medrobust_bench.data.dicom", None)
    with pytest.raises(ImageError) as caught:
        decoding.decode(bytes(128) + b"DICM")
    assert "medrobust-bench[dicom]" in caught.value.remedy

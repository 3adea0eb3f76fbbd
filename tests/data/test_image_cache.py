"""What was found out about an image is taken again exactly as long as its file is what it was."""

from __future__ import annotations

import base64
import io
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from medrobust_bench.data import image_files
from medrobust_bench.data.column_tables import ArrowImage, ArrowTable, ColumnFile, _columns
from medrobust_bench.data.image import ImageFile, canonical
from medrobust_bench.data.image_cache import SETTLED_NS, ImageCache
from medrobust_bench.data.image_files import ImageFolder, inspect
from medrobust_bench.data.places import ArchivedImage
from medrobust_bench.data.table import TableFile
from medrobust_bench.data.tables import CsvTable

from .conftest import write_image
from .published import encoded, png, write_parquet, write_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.data.image import ImageSource
    from medrobust_bench.data.image_state import ImageState


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "cache" / "images.sqlite")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageFile:
    """An image that was written long enough ago to be remembered."""
    write_image(tmp_path / "image.png")
    now = time.time_ns
    monkeypatch.setattr("medrobust_bench.data.image_cache.time.time_ns", lambda: now() + 2 * SETTLED_NS)
    return ImageFile(tmp_path / "image.png")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[ImageFile]:
    """The files that are read."""
    seen: list[ImageFile] = []
    read = ImageFile.read

    def noted(self: ImageFile) -> bytes:
        seen.append(self)
        return read(self)

    monkeypatch.setattr(ImageFile, "read", noted)
    return seen


def look(file: ImageFile, cache: ImageCache | None, *, decode: bool = True) -> ImageState:
    return inspect([file], decode=lambda *_: decode, cache=cache)[file]


def test_an_unchanged_file_is_read_once(file: ImageFile, cache: ImageCache, reads: list[ImageFile]) -> None:
    first = look(file, cache)
    assert (look(file, cache), len(reads)) == (first, 1)
    assert first.shape == canonical(file).shape[:2]


def test_what_was_only_hashed_is_decoded_when_that_is_asked(
    file: ImageFile, cache: ImageCache, reads: list[ImageFile]
) -> None:
    assert look(file, cache, decode=False).shape is None
    assert look(file, cache).shape is not None
    assert look(file, cache, decode=False).shape is not None
    assert len(reads) == 2


def test_an_edit_is_seen_though_size_and_time_are_set_back(file: ImageFile, cache: ImageCache) -> None:
    before, times = look(file, cache), file.path.stat()
    content = bytearray(file.path.read_bytes())
    content[-20] ^= 1
    file.path.write_bytes(content)
    os.utime(file.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.path.stat().st_mtime_ns == times.st_mtime_ns
    assert look(file, cache).digest == file.digest() != before.digest


def test_another_file_in_its_place_is_seen(file: ImageFile, cache: ImageCache, tmp_path: Path) -> None:
    look(file, cache)
    write_image(tmp_path / "other.png", 5)
    (tmp_path / "other.png").replace(file.path)
    assert look(file, cache).digest == file.digest()


def test_a_file_that_was_changed_a_moment_ago_is_not_remembered(
    cache: ImageCache, tmp_path: Path, reads: list[ImageFile]
) -> None:
    write_image(tmp_path / "new.png")
    file = ImageFile(tmp_path / "new.png")
    look(file, cache)
    look(file, cache)
    assert len(reads) == 2


def test_an_edit_after_it_was_found_is_never_taken_for_what_was_there(
    file: ImageFile, cache: ImageCache, tmp_path: Path
) -> None:
    folder = ImageFolder(tmp_path)
    for name in ("image.png", "set/first.png", "set/image.png"):
        write_image(tmp_path / name)
    folder.image("set/first.png")  # the folder is known from here on
    found = folder.image("set/image.png")
    assert found.stamp is not None
    write_image(found.path, 7)
    look(found, cache)
    again = folder.image("set/image.png")
    assert again == found
    assert look(again, cache).digest == again.digest()


def test_an_edit_while_it_is_read_is_never_taken_for_what_was_read(
    file: ImageFile, cache: ImageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = image_files.decode

    def edited_meanwhile(*given: object, **options: object) -> object:
        write_image(file.path, 7)
        return decode(*given, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(image_files, "decode", edited_meanwhile)
        old = look(file, cache)
    assert look(file, cache).digest == file.digest() != old.digest


def test_faults_are_found_again_each_time(file: ImageFile, cache: ImageCache, reads: list[ImageFile]) -> None:
    file.path.write_text("no picture")
    for _ in range(2):
        assert look(file, cache).fault is not None
    assert len(reads) == 2


def test_frames_are_images_of_their_own(file: ImageFile, cache: ImageCache) -> None:
    pages = [Image.new("L", (8 + page, 9), page) for page in range(2)]
    pages[0].save(file.path, "TIFF", save_all=True, append_images=pages[1:])
    frames = [ImageFile(file.path, frame) for frame in range(2)]
    fresh = inspect(frames, decode=lambda *_: True, cache=cache)
    assert inspect(frames, decode=lambda *_: True, cache=cache) == fresh
    assert [fresh[frame].shape for frame in frames] == [(9, 8), (9, 9)]


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0 and then nothing"])
def test_a_damaged_cache_costs_time_and_nothing_else(
    file: ImageFile, cache: ImageCache, content: bytes
) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(content)
    assert look(file, cache).digest == file.digest()


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(file: ImageFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ImageCache(tmp_path / "file" / "images.sqlite")
    assert look(file, cache) == look(file, None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(100, 101), (900, 601)])
def test_the_shape_is_that_of_the_canonical_image_however_a_photograph_is_turned(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    for format in ("JPEG", "PNG", "TIFF"):
        buffer = io.BytesIO()
        tags = image.getexif()
        tags[274] = orientation
        image.save(buffer, format, exif=tags)
        file = ImageFile(tmp_path / f"turned.{format}")
        file.path.write_bytes(buffer.getvalue())
        assert look(file, None).shape == canonical(file).shape[:2], format


def in_parquet(folder: Path, shade: int) -> list[ImageSource]:
    write_parquet(
        folder / "t.parquet",
        [{"image": encoded(shade), "q": "?"}, {"image": encoded(9), "q": "?"}],
        ["image"],
    )
    _columns.cache_clear()
    table = ArrowTable(ColumnFile(TableFile("t", "t.parquet", folder / "t.parquet")))
    return [ArrowImage(table, 0, "image"), ArrowImage(table, 1, "image")]


def in_archive(folder: Path, shade: int) -> list[ImageSource]:
    write_zip(folder / "t.zip", {"a/1.png": png(shade), "a/2.png": png(9)})
    return [ArchivedImage(folder / "t.zip", f"a/{n}.png") for n in (1, 2)]


def in_csv(folder: Path, shade: int) -> list[ImageSource]:
    rows = [base64.b64encode(png(value)).decode() for value in (shade, 9)]
    (folder / "t.csv").write_text("\n".join(["image", *rows, ""]))
    rows_read = CsvTable(TableFile("t.csv", "t.csv", folder / "t.csv")).rows(frozenset(["image"]))
    return [row[1]["image"] for row in rows_read]  # type: ignore[index,misc]


@pytest.mark.parametrize("make", [in_parquet, in_archive, in_csv])
def test_images_in_a_table_or_archive_are_remembered_as_long_as_it_stays_the_same(
    make: Callable[[Path, int], list[ImageSource]],
    tmp_path: Path,
    cache: ImageCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time_ns
    monkeypatch.setattr("medrobust_bench.data.image_cache.time.time_ns", lambda: now() + 2 * SETTLED_NS)
    images = make(tmp_path, 1)
    first = inspect(images, decode=lambda *_: True, cache=cache)
    assert [first[image].digest for image in images] == [image.digest() for image in images]
    assert first[images[0]].digest != first[images[1]].digest
    with monkeypatch.context() as patch:
        for source in {type(image) for image in images}:
            patch.delattr(source, "read")  # nothing is read again
        assert inspect(images, decode=lambda *_: True, cache=cache) == first
    changed = make(tmp_path, 2)
    second = inspect(changed, decode=lambda *_: True, cache=cache)
    assert second[changed[0]].digest == changed[0].digest() != first[images[0]].digest

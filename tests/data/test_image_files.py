"""Image paths stay inside the data set; damaged files are told, never raised."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from medrobust_bench.data.image import ImageFile, canonical
from medrobust_bench.data.image_files import MISSING, ImageFolder, inspect
from medrobust_bench.data.rows import RowError

from .conftest import write_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "//server/share/a.png",
        "C:/a.png",
        "c:a.png",
        "..",
        "../a.png",
        "Images/../../a.png",
        "Images/..",
        "Images\\..\\a.png",
        "Images/\0.png",
    ],
)
def test_hostile_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RowError, match="image path"):
        ImageFolder(tmp_path).locate(name)


def test_symbolic_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    base = (tmp_path / "base").resolve()
    write_image(tmp_path / "secret.png")
    write_image(base / "inside.png")
    (base / "file.png").symlink_to(tmp_path / "secret.png")
    (base / "folder").symlink_to(tmp_path, target_is_directory=True)
    (base / "good.png").symlink_to(base / "inside.png")
    for name in ("file.png", "folder/secret.png"):
        with pytest.raises(RowError, match="symbolic link"):
            ImageFolder(base).locate(name)
    assert ImageFolder(base).locate("good.png") == base / "good.png"


def test_loop_of_links_and_endless_name_are_told_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    folder = ImageFolder(tmp_path)
    paths = [
        folder.locate("a"),
        folder.locate("a/x.png"),
        folder.locate("x" * 5000),
        folder.locate(f"{'x' * 5000}/y"),
    ]
    states = inspect(paths, decode=lambda path, digest: True)
    assert all(states[path].fault for path in paths)


@pytest.mark.parametrize("name", ["a.png", "Images/RUS CHN/Ulna/4/x (2).png", "Images/a..b/é.png"])
def test_usual_path_is_kept(tmp_path: Path, name: str) -> None:
    assert ImageFolder(tmp_path).locate(name) == tmp_path.resolve() / name


def test_inspect_tells_missing_damaged_and_sound(tmp_path: Path) -> None:
    sound, text, cut = tmp_path / "sound.png", tmp_path / "text.png", tmp_path / "cut.jpg"
    write_image(sound)
    text.write_text("no picture")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:-800])
    states = inspect(
        [sound, text, cut, tmp_path / "none.png", tmp_path, sound], decode=lambda path, digest: True
    )
    assert states[sound].fault is None
    assert states[sound].digest == ImageFile(sound).digest()
    assert states[text].fault == "image cannot be decoded: not an image"
    assert str(states[cut].fault).startswith("image cannot be decoded: image file is truncated")
    assert states[tmp_path / "none.png"].fault == MISSING
    assert str(states[tmp_path].fault).startswith("image cannot be read")
    assert len(states) == 5


def test_undecoded_file_still_has_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("no picture")
    state = inspect([path], decode=lambda path, digest: False)[path]
    assert (state.digest, state.fault) == (ImageFile(path).digest(), None)


def test_decompression_bomb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    write_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert "bomb" in str(inspect([path], decode=lambda path, digest: True)[path].fault)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "GIF"])
def test_an_image_without_fault_has_a_canonical_form(tmp_path: Path, image_format: str) -> None:
    """Any damage is either found beforehand or harmless later."""
    draw = random.Random(image_format)
    buffer = io.BytesIO()
    picture = np.random.default_rng(1).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(picture).save(buffer, image_format)
    for number in range(60):
        content = bytearray(buffer.getvalue())
        for _ in range(draw.choice([1, 3])):
            content[draw.randrange(draw.choice([64, len(content)]))] = draw.randrange(256)
        (tmp_path / str(number)).write_bytes(content)
    states = inspect(sorted(tmp_path.iterdir()), decode=lambda path, digest: True)
    sound = [path for path, state in states.items() if state.fault is None]
    for path in sound:
        assert canonical(ImageFile(path)).dtype == np.uint8
    if image_format == "PNG":
        assert len(sound) < 60  # its checksums see nearly every change

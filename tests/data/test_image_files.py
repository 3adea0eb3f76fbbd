"""Image paths stay inside the data set; damaged files are told, never raised."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medrobust_bench.data.image import ImageFile, canonical
from medrobust_bench.data.image_files import MISSING, ImageFolder, inspect, near_miss
from medrobust_bench.data.rows import RowError

from .conftest import write_image


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
    states = inspect(map(ImageFile, paths), decode=lambda *_: True)
    assert all(states[ImageFile(path)].fault for path in paths)


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
        map(ImageFile, [sound, text, cut, tmp_path / "none.png", tmp_path, sound]), decode=lambda *_: True
    )
    assert states[ImageFile(sound)].fault is None
    assert states[ImageFile(sound)].digest == ImageFile(sound).digest()
    assert states[ImageFile(text)].fault == "cannot be decoded: not an image of a format that is read"
    assert str(states[ImageFile(cut)].fault).startswith("cannot be decoded: image file is truncated")
    assert states[ImageFile(tmp_path / "none.png")].fault == MISSING
    assert str(states[ImageFile(tmp_path)].fault).startswith("cannot be read")
    assert len(states) == 5


def test_undecoded_file_still_has_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("no picture")
    state = inspect([ImageFile(path)], decode=lambda *_: False)[ImageFile(path)]
    assert (state.digest, state.fault) == (ImageFile(path).digest(), None)


def test_decompression_bomb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    write_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert "bomb" in str(inspect([ImageFile(path)], decode=lambda *_: True)[ImageFile(path)].fault)


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
    states = inspect(map(ImageFile, sorted(tmp_path.iterdir())), decode=lambda *_: True)
    sound = [image for image, state in states.items() if state.fault is None]
    for image in sound:
        assert canonical(image).dtype == np.uint8
    if image_format == "PNG":
        assert len(sound) < 60  # its checksums see nearly every change


def hub_snapshot(tmp_path: Path) -> Path:
    """A folder as `snapshot_download` lays it out: every file a link to its content."""
    root = tmp_path / "hub/snapshots/main"
    for number in range(3):
        picture = tmp_path / f"{number}.png"
        write_image(picture, number)
        blob = tmp_path / "hub/blobs" / hashlib.sha256(picture.read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        picture.rename(blob)
        link = root / f"Images/Set/{number}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return root


def test_the_hub_cache_is_read_and_nothing_else_beside_it(tmp_path: Path) -> None:
    root = hub_snapshot(tmp_path)
    folder = ImageFolder(root)
    for number in range(3):
        assert folder.image(f"Images/Set/{number}.png").open().size == (12, 10)
    write_image(tmp_path / "hub/blobs/secret.png")
    write_image(tmp_path / "hub/other" / (64 * "0"), image_format="PNG")
    (root / "Images/Set/named.png").symlink_to(tmp_path / "hub/blobs/secret.png")
    (root / "Images/Set/beside.png").symlink_to(tmp_path / "hub/other" / (64 * "0"))
    for name in ("named", "beside"):
        with pytest.raises(RowError, match="symbolic link"):
            folder.image(f"Images/Set/{name}.png")


def test_a_linked_folder_of_images_becomes_part_of_the_data_set(tmp_path: Path) -> None:
    write_image(tmp_path / "disk/Set/1.png")
    write_image(tmp_path / "disk/Set/2.png", 2)
    write_image(tmp_path / "secret.png")
    (tmp_path / "disk/Set/again.png").symlink_to(tmp_path / "disk/Set/1.png")
    (tmp_path / "disk/Set/out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "disk/up").symlink_to(tmp_path)
    root = tmp_path / "data"
    root.mkdir()
    (root / "Images").symlink_to("../disk")
    folder = ImageFolder(root)
    for name in ("1", "2", "again"):
        assert folder.image(f"Images/Set/{name}.png").open().size == (12, 10)
    assert folder.notes() == (
        f"images are read from {tmp_path.resolve() / 'disk'}, where the link Images leads",
    )
    for name in ("Images/Set/out.png", "Images/up/secret.png"):
        with pytest.raises(RowError, match="symbolic link"):
            folder.image(name)


@pytest.mark.parametrize("target", ["/", "..", ".", "../data/inside/.."])
def test_a_link_to_what_holds_the_data_set_is_refused(tmp_path: Path, target: str) -> None:
    root = tmp_path / "data"
    (root / "inside").mkdir(parents=True)
    write_image(tmp_path / "secret.png")
    (root / "Images").symlink_to(target, target_is_directory=True)
    name = "Images/secret.png" if target != "/" else f"Images{tmp_path.resolve()}/secret.png"
    try:
        located = ImageFolder(root).locate(name)
    except RowError:
        return
    assert not located.exists(), "a link back into the data set shows nothing new"


def test_a_chosen_folder_is_that_of_the_images_or_the_one_around_it(tmp_path: Path) -> None:
    write_image(tmp_path / "toy/Images/Set/1.png")
    for chosen in (tmp_path / "toy", tmp_path / "toy/Images"):
        assert ImageFolder(chosen, chosen=True).locate("Images/Set/1.png").exists()
    assert not ImageFolder(tmp_path / "toy/Images").locate("Images/Set/1.png").exists()
    (tmp_path / "toy/Images/Set/out").symlink_to(tmp_path)
    with pytest.raises(RowError, match="symbolic link"):
        ImageFolder(tmp_path / "toy/Images", chosen=True).locate("Images/Set/out/secret.png")


@given(
    st.text("aé\u1e69ö가", min_size=1, max_size=6),
    st.sampled_from(["NFC", "NFD"]),
    st.sampled_from(["NFC", "NFD"]),
)
def test_names_that_look_alike_are_the_same_file(name: str, asked: str, written: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_image(root / unicodedata.normalize(written, f"Bilder-{name}/{name}.png"))
        assert ImageFolder(root).locate(unicodedata.normalize(asked, f"Bilder-{name}/{name}.png")).exists()


def test_other_letter_case_and_web_addresses_are_explained(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    write_image(tmp_path / "a b.png")
    assert near_miss(tmp_path / "1.PNG") == "1.png"
    assert near_miss(tmp_path / "a%20b.png") == "a b.png"
    assert near_miss(tmp_path / "2.png") is None
    assert near_miss(tmp_path / "none/2.png") is None

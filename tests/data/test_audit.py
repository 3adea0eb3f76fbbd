"""Counts and leakage: images that stand on both sides of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.audit import audit
from medrobust_bench.data.leakage import content_keys, find_leaks
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import MODALITIES, Modality

from .conftest import omni_row, write_image, write_json
from .test_split_files import row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.data.rows import Reading

keys = st.frozensets(st.sampled_from("abcdefgh"))
key_sets = st.dictionaries(st.sampled_from(MODALITIES), keys)


@given(key_sets, key_sets)
def test_leaks_are_exactly_the_shared_keys(
    held_out: dict[str, frozenset[str]], seen: dict[str, frozenset[str]]
) -> None:
    leaks = {
        leak.modality: leak for leak in find_leaks(held_out, seen, held_out_name="test", seen_name="train")
    }
    for modality, images in held_out.items():
        shared = {image for image in images if any(image in others for others in seen.values())}
        assert set(leaks[modality].images if modality in leaks else ()) == shared
        assert modality not in leaks or leaks[modality].total == len(images)


def test_published_splits_leak(
    published_splits: Path, published_reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published X-ray and OCT test files repeat about a third of their images in the training files."""
    monkeypatch.setattr(
        "medrobust_bench.data.audit.read_source", lambda *_, **__: published_reading
    )  # read once
    checked = audit(published_splits)
    assert checked.problems == ()
    assert not checked.has_images
    assert {
        (leak.modality, leak.held_out, leak.seen): (len(leak.images), leak.total) for leak in checked.leaks()
    } == {
        (Modality.XRAY, "test", "train"): (510, 1535),
        (Modality.OCT, "test", "train"): (250, 813),
    }


def test_leak_by_content_across_paths(tmp_path: Path) -> None:
    write_json(tmp_path / "CT_train.json", [row(1), row(2)])
    write_json(tmp_path / "CT_test.json", [row(3), row(4)])
    for number, shade in ((1, 10), (2, 20), (3, 30), (4, 10)):
        write_image(tmp_path / f"Images/Set/{number}.png", shade)
    checked = audit(tmp_path)
    assert checked.has_images
    assert checked.repeated_files() == 1
    (leak,) = checked.leaks()
    assert (leak.held_out, leak.seen, len(leak.images), leak.total) == ("test", "train", 1, 2)
    assert audit(tmp_path, text_only=True).leaks() == ()


def test_the_same_question_in_two_splits_is_a_leak_and_no_repeated_row(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_json(tmp_path / f"CT_{split}.json", [row(1)])
    checked = audit(tmp_path)
    assert checked.problems == ()
    assert [leak.images for leak in checked.leaks()] == [("Images/Set/1.png",)]
    write_image(tmp_path / "Images/Set/1.png")
    with pytest.raises(InvalidInputError, match="stands already in"):
        open_data(tmp_path, split="all")


def test_own_splits_do_not_leak(make_tree: Callable[..., Path]) -> None:
    rows = [omni_row(number) for number in range(40)]
    rows += [omni_row(100 + number, image_path=f"Images/Set/{number}.png") for number in range(40)]
    checked = audit(make_tree(*rows))
    assert checked.split_by_content
    assert checked.splits() == ("train", "validation", "test")
    assert checked.leaks() == ()
    assert sum(checked.counts().values()) == 80


def test_leaks_into_another_data_set(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    tree = audit(make_tree(omni_row(1), omni_row(2)))
    write_json(tmp_path / "splits/CT_train.json", [row(2), row(3)])
    (leak,) = tree.leaks_into(audit(tmp_path / "splits"))
    assert leak.images == ("Images/Set/2.png",)  # by path, as the split file has no images
    other = audit(make_tree(omni_row(7, image_path="Images/Set/2.png"), folder="other"))
    assert [len(leak.images) for leak in tree.leaks_into(other)] == [1]


def test_content_keys_of_a_data_set(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), omni_row(2), omni_row(3, image_path="Images/Set/1.png"))
    keys_found = content_keys(open_data(root, split="all"))
    assert {modality: len(found) for modality, found in keys_found.items()} == {Modality.CT: 2}


def test_real_tree_is_sound(omnimedvqa: Path) -> None:
    checked = audit(omnimedvqa)
    assert checked.problems == ()
    assert checked.leaks() == ()
    assert checked.types_inferred == 0

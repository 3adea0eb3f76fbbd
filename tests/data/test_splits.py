"""Splits follow from an image's content and a seed alone."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.source import open_data, set_aside
from medrobust_bench.data.splits import SPLITS, split_of, unit_hash
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.questions import training_questions
from medrobust_bench.train.settings import TrainingData

from .conftest import omni_row, write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


FROZEN = {
    0: ["train", "validation", "train", "train", "train", "validation", "train", "train"],
    1: ["train", "train", "train", "train", "validation", "train", "test", "train"],
}


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_frozen_on_every_machine() -> None:
    """Changing one of these changes every published split: never adapt them to the code."""
    for seed, splits in FROZEN.items():
        assert [split_of(digest(number), seed=seed) for number in range(8)] == splits


def test_shares() -> None:
    counts = Counter(split_of(digest(number)) for number in range(20_000))
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert abs(counts[split] / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


def test_seeds_are_independent() -> None:
    both = sum(split_of(digest(n)) == split_of(digest(n), seed=1) == "test" for n in range(20_000)) / 20_000
    assert abs(both - 0.2**2) < 0.006


@given(st.text(), st.text())
def test_unit_hash_is_in_the_unit_interval(purpose: str, key: str) -> None:
    assert 0 <= unit_hash(purpose, key) < 1


def test_same_bytes_under_two_paths_share_a_split(make_tree: Callable[..., Path]) -> None:
    rows = [omni_row(number) for number in range(60)]
    rows += [
        omni_row(100 + number, image_path=f"Images/Copy/{number}.png", modality_type="X-Ray")
        for number in range(60)
    ]
    root = make_tree(*rows)
    for number in range(60):
        write_image(root / f"Images/Copy/{number}.png", number)
    found = {split: open_data(root, split=split).questions for split in SPLITS}
    assert sum(map(len, found.values())) == 120
    digests = {split: {question.image.digest() for question in found[split]} for split in SPLITS}
    assert not digests["train"] & digests["test"]
    assert not digests["train"] & digests["validation"]
    assert not digests["validation"] & digests["test"]


def test_split_stays_when_the_data_set_grows(make_tree: Callable[..., Path]) -> None:
    small = make_tree(*(omni_row(number) for number in range(30)), folder="small")
    large = make_tree(*(omni_row(number) for number in reversed(range(90))), folder="large")
    for split in SPLITS:
        few = {question.id for question in open_data(small, split=split).questions}
        many = {question.id for question in open_data(large, split=split).questions}
        assert few == {name for name in many if int(name.removeprefix("Set_")) < 30}


def write_table(path: Path, *, patients: bool) -> Path:
    """Sixty pictures of twenty patients, each asked about twice, in published training and test splits."""
    rows = []
    for number in range(60):
        write_image(path / f"{number}.png", number)
        patient = f"p{number % 20}" if patients else ""
        for text in ("Is it?", "Is it not?"):
            rows.append([f"{number}.png", text, "yes", "test" if number % 20 == 19 else "train", patient])
    table = path / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["image", "question", "answer", "split", "patient_id"], *rows])
    return table


@pytest.mark.parametrize("patients", [True, False])
def test_a_validation_part_is_set_aside_where_the_publisher_made_none(tmp_path: Path, patients: bool) -> None:
    table = write_table(tmp_path, patients=patients)
    told: list[str] = []
    data = TrainingData(source=str(table), validation_per_modality=1000)
    train, validation = training_questions(data, told.append)
    assert len(train) + len(validation) == 114
    parts = [{one.group or one.image.digest() for one in side} for side in (train, validation)]
    assert len(parts[1]) == round(sum(map(len, parts)) / 8)
    assert not {one.image.digest() for one in train} & {one.image.digest() for one in validation}
    if patients:
        assert not {one.group for one in train} & {one.group for one in validation}
    assert f"table has no validation split: {len(validation)} of its training questions" in told[0]
    assert training_questions(data) == (train, validation)
    whole = {one.id for one in open_data(table, split="train").questions}
    assert {one.id for one in (*train, *validation)} == whole


def test_near_duplicates_are_set_aside_together(tmp_path: Path) -> None:
    train = open_data(write_table(tmp_path, patients=False), split="train")
    digests = sorted({question.image.digest() for question in train.questions})
    pairs = {digest: digests[place // 2 * 2] for place, digest in enumerate(digests)}
    rest, part = set_aside(train, near=pairs)
    assert part.questions
    sides = [{pairs[question.image.digest()] for question in side.questions} for side in (rest, part)]
    assert not sides[0] & sides[1]


def test_one_image_to_set_a_part_aside_of_is_told(tmp_path: Path) -> None:
    table = write_table(tmp_path, patients=True)
    few = dataclasses.replace(
        open_data(table, split="train"), questions=open_data(table, split="train").questions[:2]
    )
    with pytest.raises(InvalidInputError, match="a single training image or group"):
        set_aside(few)


@pytest.mark.parametrize("seed", range(4))
def test_no_recipe_trains_on_an_image_that_a_run_asks_about(
    make_tree: Callable[..., Path], seed: int
) -> None:
    root = make_tree(*(omni_row(number) for number in range(60)))
    asked = {question.image.digest() for question in open_data(root, split="test").questions}
    train, validation = training_questions(TrainingData(source=str(root), seed=seed))
    known, held_out = ({question.image.digest() for question in part} for part in (train, validation))
    assert asked
    assert known
    assert held_out
    assert not (known | held_out) & asked
    assert not known & held_out

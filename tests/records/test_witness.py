"""Witnesses are written and read a few at a time; an image is read when it is asked for."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import witness as module
from medrobust_bench.records.witness import (
    GROUP,
    Witness,
    batched,
    read_witnesses,
    sha256,
    stored_witnesses,
    write_rows,
    write_witnesses,
)

if TYPE_CHECKING:
    from pathlib import Path


def made(count: int) -> list[Witness]:
    images = [os.urandom(50) for _ in range(count)]
    return [
        Witness(
            model="m",
            threat="t",
            question=f"q{number}",
            image=image,
            sha256=sha256(image),
            clean_sha256="c",
            answer=0,
            choice=number % 2 or None,
            text="B",
        )
        for number, image in enumerate(images)
    ]


def test_what_stays_on_disk_says_what_was_written(tmp_path: Path) -> None:
    witnesses = made(2 * GROUP + 3)
    write_witnesses(tmp_path / "w.parquet", witnesses)
    stored = stored_witnesses(tmp_path / "w.parquet")
    for found, written in zip(stored, witnesses, strict=True):
        assert all(getattr(found, name) == getattr(written, name) for name in Witness.model_fields)
    assert read_witnesses(tmp_path / "w.parquet") == witnesses


def test_no_more_than_a_group_of_images_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_witnesses(tmp_path / "w.parquet", made(5 * GROUP))
    groups: list[int] = []
    images = module._images.__wrapped__

    def noted(path: Path, group: int, stamp: tuple[int, int]) -> list[bytes]:
        groups.append(len(found := images(path, group, stamp)))
        return found

    monkeypatch.setattr(module, "_images", noted)
    buffer = io.BytesIO()
    assert write_rows(buffer, stored_witnesses(tmp_path / "w.parquet"), model="other") == 5 * GROUP
    assert set(groups) == {GROUP}
    again = pq.read_table(io.BytesIO(buffer.getvalue()))
    assert set(again["model"].to_pylist()) == {"other"}
    assert pq.ParquetFile(io.BytesIO(buffer.getvalue())).num_row_groups == 5


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    for _ in range(2):
        (witness,) = made(1)
        write_witnesses(path, [witness])
        (stored,) = stored_witnesses(path)
        assert stored.image == witness.image


def test_a_file_of_something_else_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    path.write_bytes(b"no Parquet")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        stored_witnesses(path)
    pq.write_table(pa.table({"model": ["m"]}), path)
    with pytest.raises(InvalidInputError, match="other columns"):
        stored_witnesses(path)


@given(st.lists(st.integers()), st.integers(1, 5))
def test_batches_hold_everything_in_order(things: list[int], size: int) -> None:
    parts = list(batched(things, size))
    assert [thing for part in parts for thing in part] == things
    assert all(len(part) == size for part in parts[:-1])

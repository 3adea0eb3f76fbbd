from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Outcome
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def outcome(number: int) -> Outcome:
    return Outcome(
        model="m",
        threat="clean",
        question=f"q{number}",
        modality="CT",
        question_type="Disease diagnosis",
        answer=0,
        clean_choice=0,
        choice=0,
        correct=True,
        text="line\nbreak “quotes” \x1f",
    )


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.read() == []
    journal.append([outcome(1), outcome(2)])
    journal.append([outcome(3)])
    assert journal.read() == [outcome(1), outcome(2), outcome(3)]


@given(cut=st.integers(min_value=0))
def test_a_torn_last_line_is_dropped_and_nothing_else(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    journal.append([outcome(1), outcome(2), outcome(3)])
    content = journal.path.read_bytes()
    cut %= len(content) + 1
    journal.path.write_bytes(content[:cut])
    assert journal.read() == [outcome(1), outcome(2), outcome(3)][: content[:cut].count(b"\n")]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append([outcome(1), outcome(2)])
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0][:10] + b"\n" + lines[1])
    with pytest.raises(InvalidInputError) as raised:
        journal.read()
    (problem,) = raised.value.problems
    assert (problem.where, problem.row) == (str(journal.path), 1)


def test_replacing_leaves_no_partial_file(tmp_path: Path) -> None:
    replace_file(tmp_path / "new" / "file", b"first")
    replace_file(tmp_path / "new" / "file", b"second")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new" / "file").read_bytes() == b"second"

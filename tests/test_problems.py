"""What strangers write stays in its line."""

from __future__ import annotations

import pytest

from medrobust_bench.certify.fault import Fault
from medrobust_bench.problems import Problem, printable


@pytest.mark.parametrize("hostile", ["a\n::error::b", "a\x1b[2Jb", "a\r\u202eb", "a\u2028b"])
def test_a_problem_and_a_fault_are_one_line_without_control_characters(hostile: str) -> None:
    for said in (str(Problem(hostile, hostile, hostile, row=1)), str(Fault(hostile, hostile, (1, 2)))):
        assert said.isprintable()
        assert len(said.splitlines()) == 1


def test_what_can_be_printed_stays_as_it_is() -> None:
    text = "phantom/test/ct/1: ε 8/255 → 傷 é"
    assert printable(text) == text

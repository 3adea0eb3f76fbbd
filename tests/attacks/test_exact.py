"""Budgets are the numbers that were written, and are written back as such."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.specs.exact import exact_text, parse_exact


@pytest.mark.parametrize(
    ("written", "number", "text"),
    [
        ("8/255", Fraction(8, 255), "8/255"),
        ("6/255", Fraction(2, 85), "6/255"),
        ("0.03", Fraction(3, 100), "0.03"),
        (0.03, Fraction(3, 100), "0.03"),
        (0.1, Fraction(1, 10), "0.1"),
        (4, Fraction(4), "4"),
        ("1e-3", Fraction(1, 1000), "0.001"),
        ("1/3", Fraction(1, 3), "85/255"),
        ("1/7", Fraction(1, 7), "1/7"),
    ],
)
def test_it_is_the_number_that_was_written(written: object, number: Fraction, text: str) -> None:
    assert parse_exact(written) == number
    assert exact_text(number) == text


@given(st.fractions())
def test_writing_and_reading_gives_the_same_number(number: Fraction) -> None:
    assert parse_exact(exact_text(number)) == number


@pytest.mark.parametrize("wrong", ["", "x", "1/0", "nan", "inf", float("nan"), True, None, [1]])
def test_what_is_no_number_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_exact(wrong)

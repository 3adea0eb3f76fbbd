"""Numbers that a specification keeps exactly: a budget of 8/255 is not 0.031."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

_MOST_DECIMALS = 9
_NUMBER = re.compile(
    r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})(e[+-]?[0-9]{1,2})?(/[0-9]{1,40})?", re.IGNORECASE
)


def parse_exact(value: object) -> Fraction:
    """Read "8/255", "0.03", 0.03 or 4 as the number that was written, not as its nearest binary float.

    Raises:
        ValueError: `value` is not a finite number.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a number")
    text = value.replace(" ", "") if isinstance(value, str) else repr(value)
    try:
        if not _NUMBER.fullmatch(text):  # of the forms that Fraction reads, some are endless
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{str(value)[:40]!r} is not a number such as 8/255 or 0.03") from None


def exact_text(number: Fraction) -> str:
    """Write it so that `parse_exact` reads the same number: an integer, a decimal, n/255, or reduced."""
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = number * 10**decimals
        if scaled.denominator == 1:
            whole, rest = divmod(abs(scaled.numerator), 10**decimals)
            sign = "-" if number < 0 else ""
            return f"{sign}{whole}.{rest:0{decimals}}" if decimals else f"{sign}{whole}"
    if 255 % number.denominator == 0:
        return f"{number * 255}/255"
    return str(number)


Exact = Annotated[
    Fraction,
    PlainValidator(parse_exact),
    PlainSerializer(exact_text, return_type=str),
    WithJsonSchema({"type": "string", "description": 'Exact number, e.g. "8/255" or "0.25"'}),
]


def _positive(number: Fraction) -> Fraction:
    if number <= 0:
        raise ValueError("must be positive")
    return number


def _share(number: Fraction) -> Fraction:
    if not 0 < number <= 1:
        raise ValueError("is a share, above 0 and at most 1")
    return number


Positive = Annotated[Exact, AfterValidator(_positive)]
Share = Annotated[Exact, AfterValidator(_share)]


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"

"""Published rows: a JSON array of objects, read one row at a time so that one bad row hides no other."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from medrobust_bench.data.question import MAX_OPTIONS, MIN_OPTIONS
from medrobust_bench.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question


LONGEST_NAME = 60

_NO_WIDTH = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))  # soft hyphens, joiners, marks


@dataclass(frozen=True, slots=True)
class PublishedQuestion:
    """A question and the place where it was published.

    Attributes:
        question: the question; its image has not been looked at yet.
        file: the file that holds it, as messages call it.
        row: one-based position in that file.
        image_path: the image's path or name as published, with forward slashes.
        split: "train", "validation" or "test" where the publisher fixed it, else None.
        restricted: whether its images cannot be published, so that they may rightly be absent.
        type_inferred: whether its question type is a guess from the wording.
    """

    question: Question
    file: str
    row: int
    image_path: str
    split: str | None = None
    restricted: bool = False
    type_inferred: bool = False

    def problem(self, what: str, remedy: str) -> Problem:
        """A problem with this row."""
        return Problem(where=self.file, row=self.row, what=what, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the text of a data set says, before any image is opened.

    Attributes:
        name: what results call the data set.
        questions: every row that makes a question.
        problems: every row or file that does not.
        skipped: rows left out on purpose, by reason.
        synthetic: whether the images are rendered rather than taken from patients; such images need no check.
        no_images: what is wrong where the images are nowhere to be found, so that only the text can be looked at.
        notes: what a user should know about how the data set was understood, one sentence each.
        near: by digest of an image, its cluster of near-duplicates, which stay on one side of every split.
        digests: by split, the digest that the opened data set should have, where its card says one.
    """

    name: str
    questions: tuple[PublishedQuestion, ...]
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Problem, ...] = ()
    synthetic: bool = False
    no_images: Problem | None = None
    notes: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    near: Mapping[str, str] = field(default_factory=dict)


class RowError(ValueError):
    """One row cannot be used; `what` and `remedy` as in `Problem`."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what)


def read_rows(path: Path, where: str) -> tuple[list[tuple[int, dict[str, object]]], list[Problem]]:
    """Read a file that holds a JSON array of objects; see `parse_rows`."""
    try:
        return parse_rows(path.read_bytes(), where)
    except OSError as error:
        return [], [Problem(where, f"cannot be read: {error.strerror}", "check the path and its permissions")]


def parse_rows(
    content: bytes, where: str, *, lines: bool = False
) -> tuple[list[tuple[int, dict[str, object]]], list[Problem]]:
    """Parse a JSON array of objects, or JSON Lines.

    Args:
        content: the file.
        where: what to call it in problems.
        lines: whether each line is an object of its own.

    Returns:
        The objects with their one-based positions, and everything that is wrong with the file as JSON.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return [], [Problem(where, "is not UTF-8 text", "save it as UTF-8 JSON")]
    if lines:
        values, problems = _parse_lines(text, where)
    else:
        array = _parse(text, where)
        if isinstance(array, Problem):
            return [], [array]
        if not isinstance(array, list):
            what = f"holds {_kind(array)} instead of an array"
            return [], [Problem(where, what, "write it as a JSON array of rows")]
        values, problems = list(enumerate(array, start=1)), []
    if not values and not problems:
        return [], [Problem(where, "holds no rows", "restore the file from its source, or remove it")]
    rows = []
    for number, row in values:
        if isinstance(row, _Repeated):
            what = f"gives `{row.key}` twice"
            problems.append(Problem(where, what, "keep the one that is right", number))
        elif isinstance(row, dict):
            rows.append((number, row))
        else:
            what = f"is {_kind(row)} instead of an object"
            problems.append(Problem(where, what, "write every row as an object", number))
    return rows, problems


def _parse_lines(text: str, where: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    values: list[tuple[int, object]] = []
    problems = []
    for number, line in enumerate((line for line in text.split("\n") if line.strip()), start=1):
        value = _parse(line, where)
        if isinstance(value, Problem):
            problems.append(Problem(where, value.what, "write one object on each line", number))
        else:
            values.append((number, value))
    return values, problems


def _parse(text: str, where: str) -> object:
    """A JSON value, or what is wrong with the text."""
    try:
        value: object = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        return Problem(where, "is nested too deeply", "write it as a plain JSON array of objects")
    except json.JSONDecodeError as error:
        if _is_json_lines(text):
            what = "is JSON Lines: one object on each line"
            return Problem(where, what, "call the file .jsonl, or write the objects as one array: [{…}, {…}]")
        what = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        return Problem(where, what, "restore the file from its source; it may be cut off")
    except ValueError:  # a number of thousands of digits
        what = "holds a number that is too long to be read"
        return Problem(where, what, "restore the file from its source, or write the number as text")
    return value


class _Repeated(dict[str, object]):
    """A JSON object that gives a key twice; JSON readers would keep the last value in silence."""

    key = ""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    repeated = _Repeated(made)
    repeated.key = next(key for key, count in Counter(key for key, _value in pairs).items() if count > 1)
    return repeated


def is_json_lines(content: bytes) -> bool:
    """Whether a file holds an object on each line, rather than one array; whatever its ending says."""
    head = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    return head[:1] != b"[" and (b"\n" not in head.rstrip() or _is_json_lines(head.decode(errors="replace")))


def _is_json_lines(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def text_of(row: dict[str, object], key: str) -> str:
    """The non-empty text under a key, outer white space removed.

    Raises:
        RowError: the key is absent, or its value is empty, no text, or broken Unicode (a lone surrogate).
    """
    value = row.get(key)
    if type(value) is str and (text := value.strip()) and text.isascii():
        return text
    if key not in row:
        raise RowError(f"has no `{key}`", f"add `{key}` to the row")
    if not isinstance(value, str):
        raise RowError(f"`{key}` is {_kind(value)} instead of text", f"write `{key}` as text")
    text = value.strip()
    if not text:
        raise RowError(f"`{key}` is empty", f"fill in `{key}`")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RowError(f"`{key}` holds half a character", f"write `{key}` as valid Unicode") from error
    return text


def name_of(row: dict[str, object], key: str) -> str:
    """A short text that names something: a modality, a question type. Such names stand in tables and figures.

    Raises:
        RowError: as `text_of`; or it is too long or not printable.
    """
    name = text_of(row, key)
    if len(name) > LONGEST_NAME or not name.isprintable():
        what = f"`{key}` is no name: {name[:LONGEST_NAME]!r}"
        raise RowError(what, f"write `{key}` in one line of at most {LONGEST_NAME} characters")
    return name


def _kind(value: object) -> str:
    """A JSON value's type in JSON's own words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "an array" if isinstance(value, list) else "an object"


@lru_cache(maxsize=1 << 16)  # options repeat: a hundred thousand questions have a few thousand
def same_option(text: str) -> str:
    """What an option is compared by: what looks alike is alike.

    White space, capitals and closing dots do not tell two options apart, nor do the two ways in which Unicode writes
    an accent, or characters of no width.
    """
    seen = unicodedata.normalize("NFC", text).translate(_NO_WIDTH)
    return " ".join(re.sub(r"[\s.]+$", "", seen).split()).casefold()


def find_answer(answer: str, options: Sequence[str]) -> int:
    """Index of the option that an answer's text means.

    Published answers differ from their option by a trailing dot, white space or capitals; a verbatim match goes
    first, then one that ignores those.

    Raises:
        RowError: no option means the answer, or two do, so that two letters would be right.
    """
    meant = same_option(answer)
    texts = list(map(same_option, options))
    count = texts.count(meant)
    if not count:
        raise RowError(
            f"answer {answer!r} is not among its options{_look_alike(answer, options)}",
            "make the answer's text equal to one option's",
        )
    if count > 1:
        raise RowError(f"right option {answer!r} stands there {count} times", "remove the repeated option")
    return texts.index(meant)


def _look_alike(answer: str, options: Sequence[str]) -> str:
    """The option for which an answer could be taken, where other alphabets' letters are all that differs: С for C."""
    for option in options:
        one, other = same_option(answer), same_option(option)
        apart = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
        if len(one) == len(other) and apart and not any("".join(pair).isascii() for pair in apart):
            here, there = (unicodedata.name(letter, f"U+{ord(letter):04X}") for letter in apart[0])
            return f"; it looks like {option!r} but has {here} for {there}"
    return ""


def check_options(options: Sequence[str]) -> None:
    """Check that there are two to ten options, none of them empty.

    A wrong option that stands there twice is kept as published: it leaves exactly one right letter.

    Raises:
        RowError: there are too few or too many options, or an empty one.
    """
    if len(options) < MIN_OPTIONS:
        count = f"{len(options)} option{'s' * (len(options) != 1)}"
        raise RowError(f"has {count}", f"give it {MIN_OPTIONS} to {MAX_OPTIONS} options")
    if len(options) > MAX_OPTIONS:
        raise RowError(f"has {len(options)} options", f"give it {MIN_OPTIONS} to {MAX_OPTIONS} options")
    if not all(map(str.strip, options)):
        raise RowError("has an empty option", "fill in the option or remove it")


def without_repeated_ids(rows: Sequence[PublishedQuestion]) -> tuple[list[PublishedQuestion], list[Problem]]:
    """The rows whose id did not stand before, and a problem for each of the others."""
    first: dict[str, PublishedQuestion] = {}
    problems = []
    for row in rows:
        earlier = first.setdefault(row.question.id, row)
        if earlier is not row:
            what = f"id {row.question.id!r} stands already in {earlier.file}, row {earlier.row}"
            problems.append(row.problem(what, "remove the repeated row or give it an id of its own"))
    return list(first.values()), problems

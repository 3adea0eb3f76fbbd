"""Rows of JSON: one bad row or file is told apart from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.rows import RowError, check_options, find_answer, read_rows, same_option, text_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not JSON"),
        (b'[{"a": 1}', "is not JSON"),
        (b'["\xff"]', "is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": []}', "an object instead of an array"),
        (b"null", "null instead of an array"),
        (b"[]", "holds no rows"),
    ],
)
def test_unusable_file(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    rows, problems = read_rows(path, "file.json")
    assert rows == []
    assert len(problems) == 1
    assert what in problems[0].what
    assert problems[0].where == "file.json"
    assert problems[0].row is None


def test_missing_file(tmp_path: Path) -> None:
    rows, problems = read_rows(tmp_path / "none.json", "none.json")
    assert (rows, len(problems)) == ([], 1)


def test_good_rows_survive_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(
        b'\xef\xbb\xbf[{"a": 1}, 7, {"a": 2}, null]'
    )  # with a byte-order mark, as Windows writes it
    rows, problems = read_rows(path, "file.json")
    assert rows == [(1, {"a": 1}), (3, {"a": 2})]
    assert [(problem.row, problem.what) for problem in problems] == [
        (2, "is a number instead of an object"),
        (4, "is null instead of an object"),
    ]


@pytest.mark.parametrize("value", [None, True, 3, 2.5, [], {}, "", "  "])
def test_text_of_refuses(value: object) -> None:
    with pytest.raises(RowError, match="question"):
        text_of({"question": value}, "question")
    with pytest.raises(RowError, match="has no `question`"):
        text_of({}, "question")
    with pytest.raises(RowError, match="half a character"):
        text_of({"question": "\ud800"}, "question")


@pytest.mark.parametrize(
    ("answer", "options", "index"),
    [
        ("Yes", ("No", "Yes"), 1),
        ("Yes", ("No", "Yes."), 1),
        ("Yes. ", ("No", "Yes"), 1),
        ("no  disease", ("No disease.", "Disease"), 0),
        ("A.", ("a", "b", "b"), 0),
    ],
)
def test_find_answer(answer: str, options: tuple[str, ...], index: int) -> None:
    assert find_answer(answer, options) == index


@pytest.mark.parametrize(
    ("answer", "options", "what"),
    [
        ("Maybe", ("Yes", "No"), "not among its options"),
        ("Yes", ("Yes", "No", "Yes"), "stands there 2 times"),
        ("Yes", ("Yes", "yes.", "No"), "stands there 2 times"),
    ],
)
def test_find_answer_refuses(answer: str, options: tuple[str, ...], what: str) -> None:
    with pytest.raises(RowError, match=what):
        find_answer(answer, options)


@given(st.text(max_size=20), st.sampled_from(["", ".", " ", " .", ". ", "..."]))
def test_closing_dots_and_space_tell_no_options_apart(text: str, ending: str) -> None:
    assert same_option(text + ending) == same_option(text)


@pytest.mark.parametrize("options", [(), ("a",), ("a", " "), tuple("abcdefghijk")])
def test_check_options_refuses(options: tuple[str, ...]) -> None:
    with pytest.raises(RowError, match="option"):
        check_options(options)


def test_check_options_keeps_a_repeated_wrong_option() -> None:
    check_options(("a", "b", "b"))
    assert find_answer("a", ("a", "b", "b")) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("café", "cafe\u0301"), ("CT", "C\u200bT"), ("two words", "two\u00a0words"), ("\ufeffCT.", "ct")],
)
def test_texts_that_look_alike_are_the_same_option(one: str, other: str) -> None:
    assert find_answer(one, ("MRI", other)) == 1
    with pytest.raises(RowError, match="stands there 2 times"):
        find_answer(one, (one, other))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('[{"n": ' + 5000 * "7" + "}]", "too long"),
        ('{"a": 1}\n{"a": 2}\n', "is JSON Lines"),
        ('[{"a": 1, "b": 2, "a": 3}]', "gives `a` twice"),
    ],
)
def test_odd_json_is_named(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    rows, problems = read_rows(path, "rows.json")
    assert rows == []
    assert [what in problem.what for problem in problems] == [True]


@pytest.mark.parametrize(
    ("answer", "options", "what"),
    [
        (
            "\u0421T",
            ("CT", "MRI"),
            "it looks like 'CT' but has CYRILLIC SMALL LETTER ES for LATIN SMALL LETTER C",
        ),
        ("T\u2010cell", ("T-cell", "B-cell"), "it looks like 'T-cell' but has HYPHEN for HYPHEN-MINUS"),
        ("none", ("\u03b1", "b"), ""),
    ],
)
def test_texts_that_look_alike_and_differ_say_in_what(
    answer: str, options: tuple[str, ...], what: str
) -> None:
    with pytest.raises(RowError) as caught:
        find_answer(answer, options)
    assert what in caught.value.what
    assert bool(what) == ("looks like" in caught.value.what)

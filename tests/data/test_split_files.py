"""Published split files: options inside the text, modality in the file's name."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medrobust_bench.data.rows import RowError
from medrobust_bench.data.source import open_data
from medrobust_bench.data.split_files import parse_problem, parse_solution, read_split_files, split_file
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import Modality, QuestionType

from .conftest import spoilt, write_image, write_json

if TYPE_CHECKING:
    from medrobust_bench.data.rows import Reading

pieces = st.sampled_from(
    [
        "lesion",
        "CT",
        "no",
        ",",
        "(A)",
        "(group B)",
        "(T1, B)",
        "(stage A, C (late))",
        "II.",
        "H&E",
        "e.g.",
        "1.5",
    ]
)
option_texts = (
    st.lists(pieces, min_size=1, max_size=5)
    .map(" ".join)
    .map(str.strip)
    .filter(lambda text: text.strip(", "))
)


def join(question: str, options: list[str]) -> str:
    return f"{question} " + ", ".join(
        f"{letter}){text}" for letter, text in zip("ABCDEFGHIJK", options, strict=False)
    )


@given(st.sampled_from(["What is it?", "Is it (type A) or B?", '"Which?"', "See (A, B). Which?"]), st.data())
def test_options_with_commas_and_brackets_are_read_back(question: str, data: st.DataObject) -> None:
    options = data.draw(st.lists(option_texts, min_size=2, max_size=10))
    assume(not any(text.endswith(",") for text in options))
    assert parse_problem(join(question, options)) == (question, tuple(options))


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ("What? A) CT,  B) MRI. ", ("CT", "MRI.")),
        ("What? A)CT), B)MRI", ("CT)", "MRI")),
        ("What? A)CT, B)OCT (Optical, C)MRI (1.5 T)", ("CT", "OCT (Optical", "MRI (1.5 T)")),
        ("What? A)OCT (Optical, B)OCT (coherence)", ("OCT (Optical", "OCT (coherence)")),
    ],
)
def test_unpaired_brackets(problem: str, options: tuple[str, ...]) -> None:
    assert parse_problem(problem) == ("What?", options)


@pytest.mark.parametrize(
    ("problem", "what"),
    [
        ("What is it?", "has no options"),
        ("What is it? A)CT", "has 1 option"),
        ("What is it? A), B)CT", "empty option"),
        ("What is it? B)CT, C)MRI", "has no options"),
        (" A)CT, B)MRI", "no question"),
        (join("What?", list("12345678901")), "has 11 options"),
    ],
)
def test_problem_without_a_question(problem: str, what: str) -> None:
    with pytest.raises(RowError, match=what):
        parse_problem(problem)


def test_solution() -> None:
    assert parse_solution("<answer> C </answer>", 4) == 2
    assert parse_solution("<answer>A</answer>\n", 2) == 0
    for solution in ("C", "<answer></answer>", "<answer> c </answer>", "<answer> A B </answer>"):
        with pytest.raises(RowError, match="cannot be read"):
            parse_solution(solution, 4)
    with pytest.raises(RowError, match="not among its 2 options"):
        parse_solution("<answer> C </answer>", 2)
    with pytest.raises(RowError, match="not among its 4 options"):
        parse_solution("<answer> Z </answer>", 4)


def test_file_names(tmp_path: Path) -> None:
    ct = split_file(tmp_path / "CT(Computed Tomography)_test.json")
    assert (ct.modality, ct.question_type, ct.split) == (Modality.CT, None, "test")
    grading = split_file(tmp_path / "Lesion Grading_train.json")
    assert (grading.modality, grading.question_type, grading.split) == (None, QuestionType.GRADING, "train")
    assert split_file(tmp_path / "val" / "X-Ray.json").split == "validation"
    assert split_file(tmp_path / "elsewhere" / "X-Ray.json").split is None


def row(number: int = 1, **changes: object) -> dict[str, object]:
    return {
        "image": f"Images/Set/{number}.png",
        "problem": "What is seen here? A)Liver, B)Lung",
        "solution": "<answer> B </answer>",
        **changes,
    }


def test_rows_become_questions_with_ids_from_their_content(tmp_path: Path) -> None:
    write_json(tmp_path / "X-Ray_test.json", [row(1), row(2)])
    write_json(tmp_path / "X-Ray_train.json", [row(3)])
    for number in (1, 2, 3):
        write_image(tmp_path / f"Images/Set/{number}.png", number)
    dataset = open_data(tmp_path)
    first, second = dataset.questions
    assert (first.text, first.options, first.letter) == ("What is seen here?", ("Liver", "Lung"), "B")
    assert (first.modality, first.dataset) == (Modality.XRAY, "Set")
    write_json(tmp_path / "X-Ray_test.json", [row(2), row(1)])
    assert [question.id for question in open_data(tmp_path).questions] == [second.id, first.id]
    assert len(open_data(tmp_path, split="train").questions) == 1
    assert len(open_data(tmp_path, split="all").questions) == 3
    assert [question.id for question in open_data(tmp_path / "X-Ray_test.json").questions] == [
        second.id,
        first.id,
    ]
    with pytest.raises(InvalidInputError, match="has no questions for split 'validation'"):
        open_data(tmp_path, split="validation")


def test_everything_wrong_is_reported_together(tmp_path: Path) -> None:
    faulty = [
        row(1, problem="What is it?"),
        row(2, solution="B"),
        row(3, solution="<answer> D </answer>"),
        row(4, image="../4.png"),
        row(5, problem="Same? A)Yes, B)Yes.", solution="<answer> A </answer>"),
        row(6, problem=6),
        "row",
        row(8),
        row(8),
        row(10),
    ]
    write_json(tmp_path / "CT_test.json", faulty)
    write_json(tmp_path / "Sonar_test.json", [row(11)])
    write_image(tmp_path / "Images/Set/8.png")
    with pytest.raises(InvalidInputError) as caught:
        open_data(tmp_path)
    found = [(problem.where.rpartition("/")[2], problem.row) for problem in caught.value.problems]
    expected = [("CT_test.json", number) for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
    assert sorted(found, key=str) == sorted([*expected, ("Sonar_test.json", None)], key=str)
    assert [question.image.name for question in open_data(tmp_path, skip_invalid=True).questions] == [
        str(tmp_path / "Images/Set/8.png")
    ]


@given(spoilt(row(1)))
def test_every_row_is_a_question_or_is_named(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "CT_test.json", rows)
        reading = read_split_files(Path(folder), base=None)
    found = [problem.row for problem in reading.problems] + [published.row for published in reading.questions]
    assert sorted(number for number in found if number is not None) == list(range(1, len(rows) + 1))


def test_types_come_from_the_files_per_type_where_those_lie_beside(tmp_path: Path) -> None:
    write_json(tmp_path / "modality/test/CT_test.json", [row(1), row(2)])
    write_json(tmp_path / "question_type/train/Lesion Grading_train.json", [row(1)])
    first, second = read_split_files(tmp_path, base=None).questions
    assert (first.question.question_type, first.type_inferred) == (QuestionType.GRADING, False)
    assert (second.question.question_type, second.type_inferred) == (QuestionType.DIAGNOSIS, True)


def test_files_per_type_alone_do_not_tell_the_modality(tmp_path: Path) -> None:
    write_json(tmp_path / "Lesion Grading_test.json", [row(1)])
    (problem,) = read_split_files(tmp_path, base=None).problems
    assert "do not tell an image's modality" in problem.what


def test_images_are_needed_to_open(tmp_path: Path) -> None:
    write_json(tmp_path / "splits/CT_test.json", [row(1)])
    write_image(tmp_path / "elsewhere/Images/Set/1.png")
    with pytest.raises(InvalidInputError, match="has no `Images` folder beside it"):
        open_data(tmp_path / "splits")
    assert len(open_data(tmp_path / "splits", images=tmp_path / "elsewhere").questions) == 1
    with pytest.raises(InvalidInputError, match="is no folder"):
        open_data(tmp_path / "splits", images=tmp_path / "none")


def test_all_published_test_questions_parse(published_reading: Reading) -> None:
    assert published_reading.problems == ()
    rows = [published for published in published_reading.questions if published.split == "test"]
    assert len(rows) == 17_662
    by_modality = Counter(published.question.modality for published in rows)
    assert by_modality == {
        Modality.CT: 3241,
        Modality.MRI: 6370,
        Modality.XRAY: 1615,
        Modality.ULTRASOUND: 2074,
        Modality.OCT: 848,
        Modality.FUNDUS: 1098,
        Modality.DERMOSCOPY: 1306,
        Modality.MICROSCOPY: 1110,
    }
    assert Counter(len(published.question.options) for published in rows).keys() == {2, 3, 4}


def test_nothing_of_a_published_problem_is_lost(published_reading: Reading, published_splits: Path) -> None:
    source = {}
    for path in published_splits.rglob("*.json"):
        for number, published in enumerate(json.loads(path.read_text(encoding="utf-8")), start=1):
            source[str(path), number] = published
    assert len(source) == len(published_reading.questions)
    for read in published_reading.questions:
        published = source[read.file, read.row]
        assert join(read.question.text, list(read.question.options)) == published["problem"].strip()
        assert published["solution"] == f"<answer> {read.question.letter} </answer>"

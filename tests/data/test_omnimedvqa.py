"""OmniMedVQA as published: everything usable is read, everything else is named."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from medrobust_bench.data.omnimedvqa import read_tree, tree_root
from medrobust_bench.data.phantoms.phantom import BANKS
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import Modality, QuestionType

from .conftest import omni_row, spoilt, write_image, write_json

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_row_becomes_a_question(make_tree: Callable[..., Path]) -> None:
    row = omni_row(1, gt_answer="ct .", option_C="PET", option_D=None, question_type="Modality Recognition")
    root = make_tree(row)
    (published,) = read_tree(root).questions
    question = published.question
    assert question.id == "Set_0001"
    assert question.options == ("MRI", "CT", "PET")
    assert question.letter == "B"
    assert (question.modality, question.question_type) == (Modality.CT, QuestionType.MODALITY)
    assert question.dataset == "Set"
    assert question.image.name == str(root / "Images/Set/1.png")
    assert published.row == 1


FAULTS = {
    "gt_answer not among": omni_row(2, gt_answer="PET"),
    "right option twice": omni_row(3, option_C="ct."),
    "one option": omni_row(4, option_A=None),
    "eleven options": omni_row(5, **{f"option_{letter}": letter for letter in "CDEFGHIJK"}),
    "empty option": omni_row(6, option_A=" "),
    "endless modality": omni_row(7, modality_type=61 * "m"),
    "type with control characters": omni_row(8, question_type="Rid\x1b[1mdle"),
    "absolute path": omni_row(9, image_path="/etc/hostname"),
    "escaping path": omni_row(10, image_path="Images/../../../etc/hostname"),
    "number for a text": omni_row(11, question=11),
    "missing key": omni_row(12, question_id=None),
    "not an object": ["question"],
    "repeated id": omni_row(13, question_id="Set_0001"),
    "missing image": omni_row(14, image_path="Images/Set/none.png"),
}


def test_everything_wrong_is_reported_together(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), *FAULTS.values())
    (root / "Images/Set/none.png").unlink()
    (root / "QA_information/Open-access/Torn.json").write_text('[{"dataset"')
    with pytest.raises(InvalidInputError) as caught:
        open_data(root, split="all")
    problems = caught.value.problems
    rows = {problem.row: problem for problem in problems if problem.where.endswith("Set.json")}
    assert sorted(rows, key=lambda row: row or 0) == list(range(2, 2 + len(FAULTS)))
    assert len(problems) == len(FAULTS) + 1
    assert all(problem.what and problem.remedy for problem in problems)
    number = list(FAULTS).index("missing image") + 2
    assert rows[number].what == "image is missing: Images/Set/none.png"
    assert any(problem.where.endswith("Torn.json") and "not JSON" in problem.what for problem in problems)


def test_skip_invalid_goes_on_and_records(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), *FAULTS.values(), omni_row(20))
    (root / "Images/Set/none.png").unlink()
    dataset = open_data(root, split="all", skip_invalid=True)
    assert [question.id for question in dataset.questions] == ["Set_0001", "Set_0020"]
    assert [problem.row for problem in dataset.skipped if problem.row] != []
    assert len(dataset.skipped) == len(FAULTS)


def test_unreadable_image_is_a_problem(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), omni_row(2))
    (root / "Images/Set/2.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInputError, match="row 2: image cannot be decoded"):
        open_data(root, split="all")


@given(spoilt(omni_row(1)))
def test_every_row_is_a_question_or_is_named(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "QA_information/Open-access/Set.json", rows)
        reading = read_tree(Path(folder))
    named = [problem.row for problem in reading.problems]
    assert len(named) == len(set(named))
    assert sorted([*named, *(published.row for published in reading.questions)]) == list(
        range(1, len(rows) + 1)
    )


def test_restricted_rows_without_image_are_left_out_and_counted(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1))
    there, absent = omni_row(2), omni_row(3)
    write_json(root / "QA_information/Restricted-access/Locked.json", [there, absent])
    write_image(root / "Images/Set/2.png", 2)
    dataset = open_data(root, split="all")
    assert {question.id for question in dataset.questions} == {"Set_0001", "Set_0002"}
    (skipped,) = dataset.skipped
    assert skipped.where.endswith("Locked.json")
    assert "1 of 2 restricted-access rows" in skipped.what


def test_restricted_row_with_another_fault_is_a_problem(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1))
    write_json(root / "QA_information/Restricted-access/Locked.json", [omni_row(2, gt_answer="PET")])
    with pytest.raises(InvalidInputError, match="not among its options"):
        open_data(root, split="all")


def test_new_names_are_kept(make_tree: Callable[..., Path]) -> None:
    rows = [omni_row(1, modality_type="Endoscopy"), omni_row(2, modality_type="PET", question_type="Riddle")]
    known, new = open_data(make_tree(*rows), split="all").questions
    assert known.modality == Modality.ENDOSCOPY
    assert (new.modality, new.question_type) == ("PET", "Riddle")


def test_ten_options(make_tree: Callable[..., Path]) -> None:
    options = {f"option_{letter}": f"choice {letter}" for letter in "ABCDEFGHIJ"}
    (question,) = open_data(make_tree(omni_row(1, gt_answer="choice J", **options)), split="all").questions
    assert (len(question.options), question.letter) == (10, "J")


def test_modalities_called_unknown_are_left_out_and_counted(make_tree: Callable[..., Path]) -> None:
    dataset = open_data(
        make_tree(omni_row(1), *(omni_row(n, modality_type="unknown") for n in (2, 3))), split="all"
    )
    assert len(dataset.questions) == 1
    assert [problem.what for problem in dataset.skipped] == [
        "2 of 3 rows left out: their publisher calls the modality unknown"
    ]


def test_tree_inside_the_published_archive_folder(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), folder="download/OmniMedVQA")
    assert tree_root(root) == root
    assert tree_root(root.parent) == root
    assert tree_root(root.parent.parent) is None
    assert len(open_data(root.parent, split="all").questions) == 1


def test_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "QA_information").mkdir()
    with pytest.raises(InvalidInputError, match="holds no question files"):
        open_data(tmp_path, split="all")


def test_images_elsewhere(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree(omni_row(1), images=False)
    write_image(tmp_path / "disk/Images/Set/1.png")
    dataset = open_data(root, split="all", images=tmp_path / "disk")
    assert dataset.questions[0].image.open().size == (12, 10)


def test_real_tree_loads_completely(omnimedvqa: Path) -> None:
    dataset = open_data(omnimedvqa, split="all")
    modalities = Counter(question.modality for question in dataset.questions)
    assert set(modalities) == set(BANKS)
    assert len({question.id for question in dataset.questions}) == len(dataset.questions)
    if omnimedvqa.name == "omni_mini":
        assert len(dataset.questions) == 1041
        assert dataset.skipped == ()

"""Opening any data set, and balanced parts of one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.question import Question
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import MODALITIES, QUESTION_TYPES, Modality, QuestionType

from .conftest import omni_row, write_json

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path


def question(number: int, modality: str, question_type: str) -> Question:
    return Question(f"q{number}", ImageBytes(b""), "?", ("a", "b"), 0, modality, question_type, "set")


cells = st.tuples(st.sampled_from(MODALITIES), st.sampled_from(QUESTION_TYPES))
datasets = st.lists(cells, min_size=1, max_size=80).map(
    lambda drawn: Dataset("d", "all", tuple(question(number, *cell) for number, cell in enumerate(drawn)))
)


@given(datasets, st.integers(1, 90), st.integers(1, 90), st.randoms())
def test_samples_are_nested_and_do_not_depend_on_order(
    dataset: Dataset, small: int, large: int, draw: random.Random
) -> None:
    small, large = sorted((small, large))
    chosen = sample(dataset, large).questions
    assert len(chosen) == min(large, len(dataset.questions))
    assert sample(dataset, small).questions == chosen[:small]
    shuffled = draw.sample(dataset.questions, len(dataset.questions))
    assert sample(dataclasses.replace(dataset, questions=tuple(shuffled)), large).questions == chosen


@given(datasets, st.integers(1, 80))
def test_samples_are_as_balanced_as_the_data_allow(dataset: Dataset, limit: int) -> None:
    available = Counter(question.modality for question in dataset.questions)
    taken = Counter(question.modality for question in sample(dataset, limit).questions)
    for one in available:
        for other in available:
            # A modality falls behind another by more than one question only when it has no more.
            assert taken[one] >= taken[other] - 1 or taken[one] == available[one]


def test_types_are_balanced_within_a_modality() -> None:
    types = [QuestionType.MODALITY] * 50 + [QuestionType.DIAGNOSIS] * 50 + [QuestionType.GRADING] * 2
    dataset = Dataset("d", "all", tuple(question(n, Modality.CT, kind) for n, kind in enumerate(types)))
    taken = Counter(question.question_type for question in sample(dataset, 20).questions)
    assert taken == {QuestionType.MODALITY: 9, QuestionType.DIAGNOSIS: 9, QuestionType.GRADING: 2}


def test_seeds_choose_differently() -> None:
    dataset = Dataset("d", "all", tuple(question(n, Modality.CT, QuestionType.MODALITY) for n in range(100)))
    assert sample(dataset, 20, seed=0).questions != sample(dataset, 20, seed=1).questions


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_must_be_positive(limit: int) -> None:
    with pytest.raises(InvalidInputError, match="limit"):
        sample(Dataset("d", "all", ()), limit)


def test_modalities_are_kept(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), omni_row(2, modality_type="X-Ray"))
    dataset = open_data(root, split="all", modalities=[Modality.XRAY])
    assert [question.id for question in dataset.questions] == ["Set_0002"]
    with pytest.raises(InvalidInputError, match="about OCT → choose from what it has: CT, X-ray"):
        open_data(root, split="all", modalities=[Modality.OCT])


def test_modalities_are_matched_whatever_their_spelling(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), omni_row(2, modality_type="PET-CT  Fusion"))
    for typed, wanted in (("computed tomography", "Set_0001"), (" pet-ct fusion ", "Set_0002")):
        assert [question.id for question in open_data(root, split="all", modalities=[typed]).questions] == [
            wanted
        ]
    with pytest.raises(InvalidInputError) as caught:
        open_data(root, split="all", modalities=["CT", "Sonar", "OCT"])
    (problem,) = caught.value.problems
    assert problem.what == "omnimedvqa has no questions about Sonar, OCT"
    assert problem.remedy == "choose from what it has: CT, PET-CT Fusion"


def test_damaged_image_of_another_split_or_modality_is_no_problem(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), omni_row(2, modality_type="X-Ray"))
    (root / "Images/Set/2.png").write_bytes(b"no picture")
    assert len(open_data(root, split="all", modalities=[Modality.CT]).questions) == 1
    outcomes = []
    for split in ("train", "validation", "test"):
        try:
            open_data(root, split=split, modalities=[Modality.XRAY])
        except InvalidInputError as error:
            outcomes += ["decoded" if "cannot be decoded" in str(error) else "not asked"]
    assert sorted(outcomes) == ["decoded", "not asked", "not asked"]


@pytest.mark.parametrize("split", ["tests", "", "Train"])
def test_unknown_split(tmp_path: Path, split: str) -> None:
    with pytest.raises(InvalidInputError, match="unknown split"):
        open_data(tmp_path, split=split)


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        open_data(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="is no data set"):
        open_data(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InvalidInputError, match="is no data set"):
        open_data(tmp_path / "notes.txt")


def test_a_question_file_of_a_tree_is_told_apart(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree(omni_row(1))
    write_json(root / "CT.json", [omni_row(1)])
    with pytest.raises(InvalidInputError, match="is a row of OmniMedVQA"):
        open_data(root / "CT.json", split="all")


def test_phantoms_are_opened_by_name() -> None:
    dataset = open_data("phantoms", modalities=[Modality.CT])
    assert dataset.synthetic
    with pytest.raises(InvalidInputError, match="phantoms has no questions about endoscopy"):
        open_data("phantoms", modalities=["endoscopy"])
    assert {question.modality for question in dataset.questions} == {Modality.CT}

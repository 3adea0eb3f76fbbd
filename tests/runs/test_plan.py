from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import canonical
from medrobust_bench.records.run import file_stem
from medrobust_bench.runs.plan import make_plan
from medrobust_bench.specs.registry import load_specification
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.settings import RunSettings
from medrobust_bench.specs.threat import CLEAN
from tests.linear import LinearAdapter, make_questions


def mixed_questions() -> Dataset:
    small = make_questions(LinearAdapter(shape=(4, 5)), 7, seed=1)
    large = make_questions(LinearAdapter(shape=(5, 4)), 6, seed=2)
    mixed = [question for pair in zip(small, large, strict=False) for question in pair]
    return Dataset(name="mixed", split="test", questions=(*mixed, small[-1]))


def test_chunks_hold_every_question_once_and_one_shape_each() -> None:
    dataset = mixed_questions()
    plan = make_plan(RunSettings(batch_size=3), dataset, models=["m"], threats=[])
    by_id = {question.id: question for question in dataset.questions}
    assert sorted(name for chunk in plan.chunks for name in chunk) == sorted(by_id)
    for chunk in plan.chunks:
        assert len(chunk) <= 3
        assert len({canonical(by_id[name].image).shape for name in chunk}) == 1


def test_clean_comes_first_and_once() -> None:
    threats = [load_specification("noise"), CLEAN]
    plan = make_plan(RunSettings(), mixed_questions(), models=["m"], threats=threats)
    assert [threat.name for threat in plan.threats] == ["clean", "noise"]


def test_the_digest_knows_text_options_answer_and_pixels() -> None:
    dataset = mixed_questions()
    first, second, *rest = dataset.questions
    digests = {
        replace(dataset, questions=(changed, second, *rest)).digest()
        for changed in (
            first,
            replace(first, text="Another?"),
            replace(first, answer=(first.answer + 1) % 4),
            replace(first, options=("a", "b", "c", "d")),
            replace(first, image=second.image),
        )
    }
    assert len(digests) == 5


@given(st.integers(0, 3), st.text())
def test_seeds_fit_63_bits_and_differ_between_questions(seed: int, question: str) -> None:
    here = question_seed(seed, question)
    assert 0 <= here < 2**63
    assert here == question_seed(seed, question)
    assert here != question_seed(seed, question + "'")
    assert here != question_seed(seed + 1, question)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True), st.text())
def test_different_names_never_share_a_file(models: list[str], threat: str) -> None:
    one, other = models
    assert file_stem(one, threat) != file_stem(other, threat)
    assert file_stem(threat, one) != file_stem(threat, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("模型甲", "模型丙"), ("a b", "a_b"), ("m@1", "m_1"), ("ük", "äk"), ("a", "a."), ("x" * 300, "x" * 301)],
)
def test_names_that_were_written_alike(one: str, other: str) -> None:
    assert file_stem(one, "t") != file_stem(other, "t")
    assert len(file_stem(one, other)) < 220


def test_an_official_name_stays_as_it_is() -> None:
    assert file_stem("safemed-r1-tiny", "pgd-linf") == "safemed-r1-tiny--pgd-linf"


@given(st.text(), st.text())
def test_a_file_name_is_never_a_path(model: str, threat: str) -> None:
    stem = file_stem(model, threat)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", stem)
    assert not stem.startswith("..")

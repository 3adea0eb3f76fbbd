"""A small linear world: some questions answered right, some wrong, two image shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.data.dataset import Dataset
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question


def wrong(question: Question) -> Question:
    """The same question with another answer key, so that the model gets it wrong."""
    return replace(question, answer=(question.answer + 1) % len(question.options))


@pytest.fixture
def adapter() -> LinearAdapter:
    """Weights so small that some questions withstand the attack."""
    return LinearAdapter(seed=1, shape=(6, 6), scale=0.3)


@pytest.fixture
def dataset(adapter: LinearAdapter) -> Dataset:
    """Ten questions, every third of them beyond the model."""
    questions = make_questions(adapter, 10)
    return Dataset(
        name="linear",
        split="test",
        questions=tuple(
            wrong(question) if row % 3 == 0 else question for row, question in enumerate(questions)
        ),
        synthetic=True,
    )

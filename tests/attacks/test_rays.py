"""RayS on a linear model that gives answers and nothing else."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.attacks.rays import blocks
from medrobust_bench.models.adapter import NoScoresError
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.runs.threats import load_threat

from ..linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medrobust_bench.models.adapter import Answer


class Silent(LinearQuestions):
    """Answers, counts them, and gives no scores."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NoScoresError

    def answer(self, images: Sequence[np.ndarray], *, exact: bool = True) -> list[Answer]:
        self.passes.extend(question.id for question in self.batch.questions)
        return super().answer(images)


def silent(n: int, *, side: int = 8, levels: tuple[int, int] = (64, 192), scale: float = 0.05) -> Silent:
    adapter = LinearAdapter(0, 2, (side, side), scale=scale)
    bound = adapter.bind(make_questions(adapter, n, levels=levels))
    return Silent(bound.batch, bound.weights, bound.biases)


def test_every_answer_is_counted_and_none_is_asked_for_beyond_the_queries() -> None:
    bound = silent(8, scale=0.02)
    results = load_threat("rays:queries=60,eps=20/255").search(bound, range(8))
    assert {result.answer is None for result in results} == {True, False}
    for question, result in zip(bound.batch.questions, results, strict=True):
        (attempt,) = result.attempts
        assert bound.passes.count(question.id) == result.checks
        if result.answer is None:
            assert result.checks == len(attempt.losses) == 60
        else:
            assert len(attempt.losses) <= 60
            assert result.checks <= len(attempt.losses) + 1, "a success is confirmed alone"
            assert attempt.broken


def test_the_way_to_a_wrong_answer_only_gets_shorter_and_ends_where_it_is_said_to() -> None:
    bound = silent(6, scale=0.02)
    for result in load_threat("rays:queries=300,eps=2/255").search(bound, range(6)):
        (attempt,) = result.attempts
        assert all(
            later >= earlier for earlier, later in zip(attempt.losses, attempt.losses[1:], strict=False)
        )
        assert (attempt.losses[-1] == -1.0) == (result.answer is not None)


def test_it_finds_what_the_closed_form_says_is_there() -> None:
    """A model that looks at the mean brightness alone: the shortest way is as many levels everywhere as it takes."""
    bound = silent(4)
    for row, question in enumerate(bound.batch.questions):
        bound.weights[row] = 0
        bound.weights[row, 1 - question.answer] = 1 if row % 2 else -1  # brighter, or darker, is wrong
        lead = 5.5 / 255 * bound.weights.shape[2]  # lost between 5 and 6 levels
        mean = (bound.weights[row] * bound.batch.pixels()[row].double().flatten()).sum(1)
        bound.biases[row, question.answer] = lead
        bound.biases[row, 1 - question.answer] = -mean[1 - question.answer]
    held = load_threat("rays:queries=500,eps=5/255").search(bound, range(4))
    broken = load_threat("rays:queries=500,eps=6/255").search(bound, range(4))
    assert all(result.answer is None for result in held)
    for row, result in enumerate(broken):
        assert result.answer is not None
        change = result.image.astype(int) - bound.batch.images[row]
        assert np.abs(change).max() <= 6
        assert change.mean() * (1 if row % 2 else -1) > 5.5


@given(st.integers(1, 3000))
def test_blocks_cover_every_value_once_at_each_level_down_to_single_ones(size: int) -> None:
    width = size
    found = blocks(size)
    covered = 0
    for block in islice(found, 8 * size):
        assert block.start == covered % size
        assert 1 <= min(block.stop, size) - block.start <= width
        width = block.stop - block.start if block.start == 0 else width
        covered += min(block.stop, size) - block.start
        if width == 1 and covered % size == 0:
            break
    assert covered % size == 0
    assert width == 1
    assert next(found) == slice(0, size)


def test_a_ball_without_another_8_bit_image_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="below a grey level"):
        load_threat("rays:eps=0.003")

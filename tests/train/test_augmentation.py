"""Augmentation: the same shape, drawn from the seed, and nothing that was not asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import ValidationError

from medrobust_bench.train.augmentation import AugmentationSettings, augmented, names_a_side
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

RAMP = np.broadcast_to(np.arange(40, 200, 4, dtype=np.uint8)[None, :, None], (24, 40, 3)).copy()
(QUESTION,) = make_questions(LinearAdapter(), 1)


def drawn(settings: AugmentationSettings, seed: int, question: Question = QUESTION) -> NDArray[np.uint8]:
    return augmented(RAMP, settings, seed, question=question)


@pytest.mark.parametrize(
    "settings",
    [{"crop": 0.7}, {"flip": True}, {"brightness": 0.3}, {"contrast": 0.3}],
    ids=lambda settings: next(iter(settings)),
)
def test_each_change_keeps_the_shape_and_is_drawn_from_the_seed(settings: dict[str, float]) -> None:
    wanted = AugmentationSettings.model_validate(settings)
    made = [drawn(wanted, seed) for seed in range(20)]
    assert all(one.shape == RAMP.shape and one.dtype == np.uint8 for one in made)
    assert any(not np.array_equal(one, RAMP) for one in made)
    assert all(np.array_equal(one, drawn(wanted, seed)) for seed, one in enumerate(made))


def test_nothing_changes_unless_it_is_asked_for() -> None:
    assert all(np.array_equal(drawn(AugmentationSettings(), seed), RAMP) for seed in range(5))


def test_a_crop_shows_a_part_and_a_flip_the_other_side() -> None:
    widths = [np.ptp(drawn(AugmentationSettings(crop=0.5), seed)[0, :, 0]) for seed in range(20)]
    assert min(widths) < 0.7 * np.ptp(RAMP[0, :, 0])
    flipped = [drawn(AugmentationSettings(flip=True), seed) for seed in range(20)]
    assert {bool(one[0, 0, 0] > one[0, -1, 0]) for one in flipped} == {True, False}


@pytest.mark.parametrize(
    "text", ["Which lung is affected?", "Is the lesion on the LEFT?", "Which optic disc, nasal first?"]
)
def test_no_image_is_mirrored_of_which_a_side_is_asked(text: str) -> None:
    """By the words of the question or of its options."""
    asked = replace(QUESTION, text=text)
    if text.startswith("Which lung"):
        assert not names_a_side(asked)
        asked = replace(asked, options=("Left lung", "Right lung"), answer=0)
    assert names_a_side(asked)
    settings = AugmentationSettings(flip=True)
    assert all(np.array_equal(drawn(settings, seed, asked), RAMP) for seed in range(20))


def test_unknown_changes_are_refused() -> None:
    with pytest.raises(ValidationError, match="rotation"):
        AugmentationSettings.model_validate({"rotation": 5})

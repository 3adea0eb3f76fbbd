"""Budgets hold exactly, in integers, for any image that an attack may come up with."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.attacks.budget import L2Budget, LinfBudget, PatchBudget, place_square

SEEDS = st.integers(0, 2**32)
EPSILONS = st.fractions(Fraction(1, 510), 1, max_denominator=510)


def clean_and_wild(seed: int, size: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """A clean 8-bit image and a float image somewhere around it, now and then beyond [0, 1]."""
    draw = np.random.default_rng(seed)
    shape = (*draw.integers(1, 12, 2), 3)
    clean = draw.integers(0, 256, shape).astype(np.uint8)
    return clean, (clean / 255 + draw.normal(0, size, shape)).astype(np.float32)


def change(clean: np.ndarray, image: np.ndarray) -> np.ndarray:
    return image.astype(np.int64) - clean


@given(SEEDS, EPSILONS)
def test_linf_rounding_stays_within_the_exact_number_of_levels(seed: int, eps: Fraction) -> None:
    clean, wild = clean_and_wild(seed)
    budget = LinfBudget(eps)
    image = budget.round(clean, wild)
    assert image.dtype == np.uint8
    assert Fraction(int(np.abs(change(clean, image)).max()), 255) <= eps
    assert budget.violation(clean, image) is None


@given(SEEDS)
def test_linf_rounding_gives_the_nearest_allowed_level(seed: int) -> None:
    clean, wild = clean_and_wild(seed)
    image = LinfBudget(Fraction(8, 255)).round(clean, wild)
    lowest, highest = np.maximum(clean.astype(int) - 8, 0), np.minimum(clean.astype(int) + 8, 255)
    nearest = np.clip(np.rint(wild.astype(np.float64) * 255), lowest, highest)
    np.testing.assert_array_equal(image, nearest)


@pytest.mark.parametrize(("eps", "levels"), [("8/255", 8), ("0.03", 7), ("1/256", 0), ("1", 255)])
def test_linf_levels_are_rounded_down(eps: str, levels: int) -> None:
    assert LinfBudget(Fraction(eps)).levels == levels


def test_linf_one_level_too_many_is_a_violation() -> None:
    clean = np.full((2, 2, 3), 100, np.uint8)
    budget = LinfBudget(Fraction(8, 255))
    assert budget.violation(clean, clean + np.uint8(8)) is None
    assert budget.violation(clean, clean - np.uint8(8)) is None
    assert "9 levels, 8 allowed" in (budget.violation(clean, clean + np.uint8(9)) or "")
    assert "-" not in (budget.violation(clean, clean - np.uint8(9)) or "-")


def test_unsigned_differences_do_not_wrap_around() -> None:
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert LinfBudget(Fraction(8, 255)).violation(black, white) is not None
    assert L2Budget(Fraction(1)).violation(white, black) is not None


@given(SEEDS, st.fractions(Fraction(1, 100), 8, max_denominator=100), st.sampled_from([0.003, 0.05, 0.5]))
def test_l2_rounding_fits_the_exact_energy(seed: int, eps: Fraction, size: float) -> None:
    clean, wild = clean_and_wild(seed, size)
    budget = L2Budget(eps)
    image = budget.round(clean, wild)
    energy = int(np.square(change(clean, image)).sum())
    assert energy <= (255 * eps) ** 2 * clean.shape[0] * clean.shape[1] / 1024
    assert budget.violation(clean, image) is None


@given(SEEDS, st.sampled_from([0.003, 0.05]))
def test_l2_rounding_leaves_an_allowed_8_bit_image_alone(seed: int, size: float) -> None:
    clean, wild = clean_and_wild(seed, size)
    budget = L2Budget(Fraction(2))
    image = budget.round(clean, wild)
    np.testing.assert_array_equal(budget.round(clean, image / 255), image)


def test_l2_rounding_hardly_loses_energy() -> None:
    draw = np.random.default_rng(0)
    clean = draw.integers(64, 192, (64, 64, 3)).astype(np.uint8)
    direction = draw.normal(size=clean.shape)
    budget = L2Budget(Fraction(1, 2))
    radius = 0.5 * 64 / 32
    wild = clean / 255 + direction / np.linalg.norm(direction) * radius
    rounded = change(clean, budget.round(clean, wild))
    assert np.square(rounded).sum() / budget.energy(64, 64) > 0.999
    cosine = (rounded * direction).sum() / np.linalg.norm(rounded) / np.linalg.norm(direction)
    assert cosine > 0.99


def test_l2_rounding_takes_back_the_cheapest_rounding() -> None:
    clean = np.zeros((1, 1, 3), np.uint8)
    budget = L2Budget(Fraction(344, 1000))
    assert budget.energy(1, 1) == 7
    # 1.55² + 1.9² fits, 2² + 2² does not: 1.55 → 1 costs less than 1.9 → 1.
    image = budget.round(clean, np.array([[[1.9, 1.55, 0.0]]]) / 255)
    assert image.ravel().tolist() == [2, 1, 0]


def test_l2_rounding_does_not_depend_on_memory_layout() -> None:
    clean, wild = clean_and_wild(7)
    budget = L2Budget(Fraction(1))
    strided = np.ascontiguousarray(wild.transpose(2, 0, 1)).transpose(1, 2, 0)
    np.testing.assert_array_equal(budget.round(clean, strided), budget.round(clean, wild))


def test_l2_energy_grows_with_the_pixel_count() -> None:
    budget = L2Budget(Fraction(1, 2))
    assert budget.energy(32, 32) == 16_256  # floor(127.5²)
    assert budget.energy(64, 64) == 65_025  # 255², exactly
    assert budget.energy(384, 384) == 2_340_900


def test_l2_one_unit_too_many_is_a_violation() -> None:
    clean = np.zeros((32, 32, 3), np.uint8)
    budget = L2Budget(Fraction(1, 2))
    full = clean.copy()
    full.ravel()[:64] = 15  # 14,400
    full.ravel()[64:80] = 10  # + 1,600
    full.ravel()[80] = 16  # + 256
    assert budget.violation(clean, full) is None
    full.ravel()[81] = 1
    assert "16257" in (budget.violation(clean, full) or "")


@given(SEEDS, st.fractions(Fraction(1, 100), 1, max_denominator=100))
def test_patch_rounding_changes_nothing_outside(seed: int, area: Fraction) -> None:
    clean, wild = clean_and_wild(seed)
    height, width = clean.shape[:2]
    budget = place_square(area, height, width, np.random.default_rng(seed))
    image = budget.round(clean, wild)
    inside = budget.mask(height, width)
    np.testing.assert_array_equal(image[~inside], clean[~inside])
    np.testing.assert_array_equal(image[inside], np.rint(np.clip(wild, 0, 1).astype(float) * 255)[inside])
    assert budget.violation(clean, image) is None


def test_patch_one_pixel_outside_is_a_violation() -> None:
    clean = np.zeros((8, 8, 3), np.uint8)
    budget = PatchBudget(top=2, left=3, height=2, width=2)
    image = clean.copy()
    image[2:4, 3:5] = 255
    assert budget.violation(clean, image) is None
    image[4, 3, 1] = 1
    assert "1 pixels outside" in (budget.violation(clean, image) or "")


@given(st.integers(1, 60), st.integers(1, 60), st.fractions(Fraction(1, 100), 1, max_denominator=100), SEEDS)
def test_a_square_keeps_to_the_area_and_the_image(height: int, width: int, area: Fraction, seed: int) -> None:
    square = place_square(area, height, width, np.random.default_rng(seed))
    side = square.height
    assert side == square.width
    assert square.mask(height, width).sum() == side**2
    assert side == 1 or side**2 <= area * height * width
    assert side == min(height, width) or (side + 1) ** 2 > area * height * width


def test_squares_reach_every_place() -> None:
    draws = [place_square(Fraction(1, 4), 4, 4, np.random.default_rng(seed)) for seed in range(200)]
    assert {(square.top, square.left) for square in draws} == {(t, s) for t in range(3) for s in range(3)}


@pytest.mark.parametrize(
    "budget", [LinfBudget(Fraction(1)), L2Budget(Fraction(9)), PatchBudget(0, 0, 2, 2)], ids=type
)
def test_what_is_not_an_8_bit_image_of_the_shape_is_a_violation(budget: LinfBudget) -> None:
    clean = np.zeros((2, 2, 3), np.uint8)
    assert "8-bit" in (budget.violation(clean, clean.astype(np.float32)) or "")
    assert "shape" in (budget.violation(clean, np.zeros((2, 3, 3), np.uint8)) or "")

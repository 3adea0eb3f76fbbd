"""A universal patch lies where its budget says, is trained on other questions, and works on linear models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.attacks.universal_patch import Sticker
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.models.scoring import lead_of_reference
from medrobust_bench.runs.threats import load_threat

from ..linear import LinearAdapter, make_questions

SPEC = "patch-universal:area=0.2,epochs=15,training=8"


class SameForAll(LinearAdapter):
    """Two options, and one direction that hurts every question that has the same answer."""

    def parameters(self, question: object, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        draw = np.random.default_rng(self.seed)
        weight = torch.from_numpy(draw.normal(0, self.scale, (1, size)))
        return torch.cat([weight, -weight]), torch.zeros(2, dtype=torch.float64)


def world() -> tuple[SameForAll, list, list]:
    adapter = SameForAll(3, 2, (20, 20), scale=0.01)
    questions = [question for question in make_questions(adapter, 40) if question.answer == 0]
    return adapter, questions[:8], questions[8:14]


@given(
    st.integers(2, 60),
    st.integers(2, 60),
    st.integers(0, 2**40),
    st.sampled_from(["0", "22.5", "90", "180"]),
    st.sampled_from(["0.01", "0.05", "0.3"]),
)
def test_the_patch_is_inside_the_image_and_of_its_area(
    height: int, width: int, seed: int, rotation: str, area: str
) -> None:
    threat = load_threat(f"patch-universal:rotation={rotation},area={area}")
    sticker = threat.budget((height, width), seed)
    assert sticker == threat.budget((height, width), seed)
    covered = int(sticker.mask(height, width).sum())
    assert covered <= sticker.side**2 + 4 * sticker.side + 4
    if sticker.side * 1.42 < min(height, width):
        assert abs(covered - sticker.side**2) <= 4 * sticker.side
        assert sticker.side**2 <= max(4.0, float(area) * height * width)


def test_content_is_laid_upright_without_rotation() -> None:
    clean = np.full((10, 12, 3), 100, np.uint8)
    content = np.linspace(0, 1, 48).reshape(4, 4, 3)
    sticker = Sticker(row=5, column=6, side=4, angle=0)
    laid = sticker.lay(clean, content)
    np.testing.assert_array_equal(laid[3:7, 4:8], content)
    assert (laid[~sticker.mask(10, 12)] == 100 / 255).all()


def test_a_right_angle_turns_the_content() -> None:
    clean = np.zeros((10, 10, 3), np.uint8)
    content = np.linspace(0.1, 1, 48).reshape(4, 4, 3)
    laid = Sticker(row=5, column=5, side=4, angle=90).lay(clean, content)
    assert any(np.allclose(laid[3:7, 3:7], np.rot90(content, turns)) for turns in (1, 3))


def test_a_change_outside_is_a_violation() -> None:
    clean = np.zeros((10, 10, 3), np.uint8)
    sticker = Sticker(row=5, column=5, side=4, angle=30)
    inside = np.where(sticker.mask(10, 10)[:, :, None], 200, clean).astype(np.uint8)
    assert sticker.violation(clean, inside) is None
    inside[0, 0] = 1
    assert sticker.violation(clean, inside) == "changes 1 pixels outside the patch"
    np.testing.assert_array_equal(sticker.round(clean, inside / 255)[0, 0], 0)


def test_the_trained_patch_is_near_the_closed_form_optimum_at_every_place() -> None:
    """Where one direction hurts all, the best patch at a known place is black and white by its sign."""
    adapter, training, others = world()
    threat = load_threat(f"{SPEC},rotation=0")
    trained = threat.train(adapter, training, seed=0)
    bound = adapter.bind(others)
    right = torch.zeros(len(others), dtype=torch.long)
    before = lead_of_reference(bound.scores(bound.batch.pixels()), right)
    found = [result.image for result in trained.search(bound, range(len(others)))]
    after = lead_of_reference(bound.scores(to_pixels(found)), right)
    grey = [
        threat.budget((20, 20), row).round(image, np.full(image.shape, 0.5))
        for row, image in enumerate(bound.batch.images)
    ]
    untrained = lead_of_reference(bound.scores(to_pixels(grey)), right)
    assert (after - before).mean() < 0
    assert (after - untrained).mean() < 0


def test_training_depends_on_the_seed_alone() -> None:
    adapter, training, _ = world()
    threat = load_threat("patch-universal:area=0.2,epochs=2,training=8")
    assert isinstance(threat, TrainedThreat)
    torch.manual_seed(1)
    first = threat.train(adapter, training, seed=0).content
    torch.manual_seed(2)
    np.random.seed(2)
    np.testing.assert_array_equal(threat.train(adapter, training, seed=0).content, first)
    assert (threat.train(adapter, training, seed=1).content != first).any()
    assert first.min() >= 0
    assert first.max() <= 1


def test_untrained_it_cannot_search() -> None:
    adapter, _, others = world()
    bound = adapter.bind(others)
    with pytest.raises(RuntimeError, match="has not been trained"):
        load_threat(SPEC).search(bound, range(len(others)))

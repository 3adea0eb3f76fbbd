"""Every attack on a linear model, where the worst case is known in closed form."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust_bench.attacks.budget import L2Budget, PatchBudget
from medrobust_bench.attacks.losses import CrossEntropy, attack_losses, loss_at, option_margins
from medrobust_bench.attacks.pgd import StartedPgd, uniform_in_l2_ball, uniform_in_linf_ball
from medrobust_bench.models.adapter import Answer
from medrobust_bench.runs.threats import load_threat

from ..linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.losses import AttackLoss

EVERY_THREAT = [
    "pgd-linf:restarts=2",
    "pgd-l2:restarts=2",
    "pgd-linf:steps=5,loss=margin",
    "pgd-linf:steps=5,loss=targeted",
    "pgd-linf-quick:steps=5",
    "apgd-linf:steps=10",
    "apgd-l2:steps=10,loss=targeted",
    "square:queries=20,eps=32/255",
    "rays:queries=40,eps=16/255",
    "auto-linf:pgd_steps=3,steps=6,queries=10",
    "patch:steps=4,places=3",
    "noise",
    "noise:norm=l2,eps=6",
]


def bound_questions(
    n: int, *, seed: int = 0, n_classes: int = 4, side: int = 12, scale: float = 0.05, **kwargs: object
) -> LinearQuestions:
    adapter = LinearAdapter(seed, n_classes, (side, side), scale=scale)
    return adapter.bind(make_questions(adapter, n, seed=seed, **kwargs))


def search(threat: str, bound: LinearQuestions, seeds: Sequence[int]) -> list[AttackResult]:
    return load_threat(threat).search(bound, seeds)


def unbreakable(n: int, **kwargs: object) -> tuple[LinearQuestions, np.ndarray]:
    """Two-option questions that no small change breaks, and [n, H, W, 3] the direction that hurts the most."""
    bound = bound_questions(n, n_classes=2, scale=0.02, **kwargs)
    height, width, _ = bound.batch.images[0].shape
    directions = []
    for row, question in enumerate(bound.batch.questions):
        bound.biases[row, question.answer] += 8
        harm = bound.weights[row, 1 - question.answer] - bound.weights[row, question.answer]
        directions.append(harm.numpy().reshape(3, height, width).transpose(1, 2, 0))
    return bound, np.stack(directions)


@pytest.mark.parametrize("threat", ["pgd-linf", "pgd-linf-quick"])
def test_linf_pgd_reaches_the_closed_form_optimum(threat: str) -> None:
    bound, harm = unbreakable(3)  # full range of grey levels: the optimum is clipped to [0, 255]
    for row, result in enumerate(search(threat, bound, [5, 6, 7])):
        optimum = np.clip(bound.batch.images[row] + 8 * np.sign(harm[row]), 0, 255)
        np.testing.assert_array_equal(result.image, optimum)
        assert result.answer is None


@pytest.mark.parametrize("restarts", [1, 2])
def test_steps_on_a_cosine_have_the_lengths_that_the_specification_says(restarts: int) -> None:
    bound, _ = unbreakable(1, levels=(64, 192))
    threat = load_threat(f"pgd-linf:eps=32/255,step_size=4/255,steps=6,schedule=cosine,restarts={restarts}")
    tried: list[torch.Tensor] = []
    threat.search(bound, [5], watch=lambda _question, image, _flipped: tried.append(image.clone()))
    for run in range(restarts):
        images = torch.stack(tried[7 * run : 7 * (run + 1)])
        moved = images.diff(dim=0).abs().amax((1, 2, 3))
        expected = [4 / 255 * (1 + np.cos(np.pi * step / 6)) / 2 for step in range(6)]
        np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_l2_pgd_reaches_the_closed_form_optimum_within_rounding() -> None:
    bound, harm = unbreakable(2, side=32, levels=(64, 192))
    threat = "pgd-l2:eps=2,steps=60,step_size=0.25"
    for row, result in enumerate(search(threat, bound, [5, 6])):
        optimum = bound.batch.images[row] / 255 + 2 * harm[row] / np.linalg.norm(harm[row])
        assert np.abs(result.image - optimum * 255).max() <= 1
        gained = ((result.image / 255.0 - bound.batch.images[row] / 255) * harm[row]).sum()
        assert gained > 0.99 * 2 * np.linalg.norm(harm[row])


def test_official_l2_pgd_gains_most_of_the_closed_form_optimum() -> None:
    bound, harm = unbreakable(2, side=32, levels=(64, 192))
    for row, result in enumerate(search("pgd-l2", bound, [5, 6])):
        gained = ((result.image / 255.0 - bound.batch.images[row] / 255) * harm[row]).sum()
        assert gained > 0.95 * 0.5 * np.linalg.norm(harm[row])


def test_the_patch_reaches_the_closed_form_optimum_inside_its_square() -> None:
    bound, harm = unbreakable(2)
    threat = load_threat("patch:area=0.2,places=1,steps=50")
    for row, result in enumerate(search("patch:area=0.2,places=1,steps=50", bound, [5, 6])):
        (square,) = threat.budget((12, 12), 5 + row).places
        inside = square.mask(12, 12)[:, :, None]
        optimum = np.where(inside, np.where(harm[row] > 0, 255, 0), bound.batch.images[row])
        np.testing.assert_array_equal(result.image, optimum)


def test_the_place_of_the_patch_depends_on_the_seed_only() -> None:
    threat = load_threat("patch:places=1")
    places = [threat.budget((40, 30), seed) for seed in range(20)]
    assert len(set(places)) > 10
    assert places == [load_threat("patch:places=1,steps=3").budget((40, 30), seed) for seed in range(20)]
    bound = bound_questions(4, side=20)
    for seed, clean, result in zip(
        range(4), bound.batch.images, search("patch:places=1", bound, range(4)), strict=True
    ):
        changed = np.argwhere((result.image != clean).any(axis=2))
        (place,) = threat.budget((20, 20), seed).places
        assert isinstance(place, PatchBudget)
        assert changed.min(axis=0).tolist() >= [place.top, place.left]
        assert PatchBudget.violation(place, clean, result.image) is None


def test_noise_in_linf_moves_every_value_by_the_whole_budget() -> None:
    bound, _ = unbreakable(2, levels=(8, 247))
    for clean, result in zip(bound.batch.images, search("noise", bound, [5, 6]), strict=True):
        assert set(np.unique(result.image.astype(int) - clean)) == {-8, 8}


def test_noise_in_l2_uses_its_budget() -> None:
    bound, _ = unbreakable(1, side=32, levels=(64, 192))
    (result,) = search("noise:norm=l2,eps=0.5", bound, [5])
    energy = np.square(result.image.astype(int) - bound.batch.images[0]).sum()
    assert energy > 0.99 * L2Budget(load_threat("pgd-l2").spec.eps).energy(32, 32)


def test_noise_keeps_the_worst_draw() -> None:
    bound, harm = unbreakable(1, levels=(8, 247))
    few, many = (
        (
            (search(f"noise:draws={draws}", bound, [5])[0].image - bound.batch.images[0].astype(int))
            * harm[0]
        ).sum()
        for draws in (1, 50)
    )
    assert many > few


def test_noise_takes_no_gradient() -> None:
    bound = bound_questions(2)
    bound.weights.requires_grad_(True)  # would make any recorded loss differentiable
    assert all(result.backward_passes == 0 for result in search("noise", bound, [1, 2]))
    assert not load_threat("noise").spec.white_box


@pytest.mark.parametrize("threat", EVERY_THREAT)
def test_a_question_fares_the_same_alone_and_in_company(threat: str) -> None:
    bound = bound_questions(6)
    seeds = [101, 102, 103, 104, 105, 106]
    together = search(threat, bound, seeds)
    assert any(result.answer is not None for result in together)
    order = [4, 0, 5, 2]
    regrouped = search(threat, bound.select(order), [seeds[row] for row in order])
    for row, result in zip(order, regrouped, strict=True):
        (alone,) = search(threat, bound.select([row]), [seeds[row]])
        for other in (alone, result):
            np.testing.assert_array_equal(other.image, together[row].image)
            assert other.answer == together[row].answer
            assert other.forward_passes == together[row].forward_passes
            assert other.backward_passes == together[row].backward_passes


@pytest.mark.parametrize(
    "threat", [name for name in EVERY_THREAT if not name.startswith("rays")]
)  # draws nothing
def test_the_outcome_is_drawn_from_the_seed_and_not_from_global_state(threat: str) -> None:
    bound, _ = unbreakable(1)

    def tried(seed: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        search(threat, watched(bound, seen), [seed])
        return torch.cat(seen)

    np.random.seed(0)
    torch.manual_seed(0)
    random.seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()
    first = tried(1)
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]
    np.random.seed(1)
    random.seed(1)
    assert torch.equal(tried(1), first)
    assert not torch.equal(tried(2), first)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**63 - 1), st.sampled_from(EVERY_THREAT), st.sampled_from([0.02, 0.2]))
def test_no_attack_leaves_its_budget_or_the_8_bit_grid(seed: int, threat: str, scale: float) -> None:
    bound = bound_questions(2, seed=seed % 1000, side=7, scale=scale)
    adversary = load_threat(threat)
    results = adversary.search(bound, [seed, seed + 1])
    for clean, result, own in zip(bound.batch.images, results, (seed, seed + 1), strict=True):
        assert result.image.dtype == np.uint8
        assert adversary.budget((7, 7), own).violation(clean, result.image) is None


@pytest.mark.parametrize("threat", EVERY_THREAT)
def test_what_is_reported_broken_is_answered_wrongly(threat: str) -> None:
    bound = bound_questions(8)
    results = search(threat, bound, range(8))
    verdicts = bound.answer([result.image for result in results])
    for question, result, verdict in zip(bound.batch.questions, results, verdicts, strict=True):
        assert (result.answer is not None) == (verdict.choice != question.answer)


def test_finished_questions_cost_nothing_more() -> None:
    bound = bound_questions(8)
    results = search("pgd-linf:eps=4/255,restarts=2", bound, range(8))
    for question, result in zip(bound.batch.questions, results, strict=True):
        assert bound.passes.count(question.id) == result.forward_passes
        if result.answer is None:
            # Two runs of 20 gradient steps, each with one pass for its last iterate.
            assert (result.forward_passes, result.backward_passes) == (42, 40)
        else:
            assert result.forward_passes < 42
    assert len({result.forward_passes for result in results}) > 1


@dataclass(eq=False)
class Watched(LinearQuestions):
    """Always in doubt, answers in words, and remembers the pixels that it saw."""

    seen: list[torch.Tensor] = field(default_factory=list)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append(pixels.detach())
        return super().scores(pixels)

    def answer(self, images: Sequence[np.ndarray], *, exact: bool = True) -> list[Answer]:
        return [Answer(answer.choice, "said so") for answer in super().answer(images)]


def watched(bound: LinearQuestions, seen: list[torch.Tensor]) -> Watched:
    batch = replace(bound.batch, tolerance=float("inf"))
    return Watched(batch, bound.weights, bound.biases, bound.passes, seen)


def test_the_patch_is_searched_under_its_mask() -> None:
    bound, _ = unbreakable(1)
    seen: list[torch.Tensor] = []
    search("patch:places=1,steps=50", watched(bound, seen), [5])
    outside = torch.from_numpy(~load_threat("patch:places=1").budget((12, 12), 5).places[0].mask(12, 12))
    clean = bound.batch.pixels()
    assert len(seen) == 51
    for pixels in seen:
        torch.testing.assert_close(pixels[..., outside], clean[..., outside])


@pytest.mark.parametrize("threat", ["pgd-linf:steps=3,eps=4/255", "noise:draws=3"])
def test_doubts_about_generated_answers_are_settled_at_the_end(threat: str) -> None:
    bound = bound_questions(12)
    plain, generating = search(threat, bound, range(12)), search(threat, watched(bound, []), range(12))
    broken = [result.answer is not None for result in plain]
    assert any(broken)
    assert not all(broken)
    assert [result.answer is not None for result in generating] == broken


def test_pgd_breaks_what_noise_breaks_and_more() -> None:
    bound = bound_questions(12)
    broken = {
        threat: {row for row, f in enumerate(search(threat, bound, range(12))) if f.answer is not None}
        for threat in ("noise", "pgd-linf")
    }
    assert broken["noise"] < broken["pgd-linf"]


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize("size", [0.0, 0.01, 1.0])
def test_the_projection_is_that_of_art(norm: float, size: float) -> None:
    values = size * torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 4, 5))).float()
    torch.testing.assert_close(
        StartedPgd._projection(values, 0.3, norm),
        ProjectedGradientDescentPyTorch._projection(values, 0.3, norm),
    )


def test_starts_are_uniform_in_their_balls() -> None:
    draw = np.random.default_rng(0)
    linf = np.stack([uniform_in_linf_ball(draw, 5, 0.1) for _ in range(2000)])
    assert np.abs(linf).max() <= 0.1
    np.testing.assert_allclose(np.square(linf).mean(axis=0), 0.1**2 / 3, rtol=0.1)
    lengths = np.array([np.linalg.norm(uniform_in_l2_ball(draw, 5, 0.1)) for _ in range(2000)])
    assert lengths.max() <= 0.1
    # P(length ≤ t·radius) = t^5, so the mean is radius·5/6.
    np.testing.assert_allclose(lengths.mean(), 0.1 * 5 / 6, rtol=0.02)


def value(loss: AttackLoss, bound: LinearQuestions, pixels: torch.Tensor) -> torch.Tensor:
    return loss_at(loss, bound, pixels, [""] * len(pixels)).value


def test_losses_agree_for_two_options() -> None:
    bound = bound_questions(3, n_classes=2)
    pixels = bound.batch.pixels()
    leads = option_margins(bound.scores(pixels), bound.batch).amax(1)
    for loss in ("margin", "targeted"):
        (one,) = attack_losses(loss, "words", bound.batch.questions)
        assert torch.equal(value(one, bound, pixels), leads)
    (entropy,) = attack_losses("cross-entropy", "words", bound.batch.questions)
    torch.testing.assert_close(value(entropy, bound, pixels), torch.nn.functional.softplus(leads))


@pytest.mark.parametrize("score", [float("nan"), -0.005, 0.005])
def test_an_answer_may_have_flipped_unless_its_lead_is_certain(score: float) -> None:
    bound = bound_questions(1, n_classes=2)
    scores = torch.full((1, 2), score)
    scores[0, bound.batch.answers[0]] = 0.0
    bound.batch = replace(bound.batch, tolerance=0.01)
    bound.scores = lambda pixels: scores
    loss = loss_at(CrossEntropy(), bound, bound.batch.pixels(), [""])
    assert loss.may_have_flipped.item()
    assert loss.has_flipped.item() == (score > 0)
    bound.batch = replace(bound.batch, tolerance=0.004)
    loss = loss_at(CrossEntropy(), bound, bound.batch.pixels(), [""])
    assert loss.may_have_flipped.item() == (score != -0.005)


@pytest.mark.parametrize("options", [2, 3, 4, 5])
def test_each_wrong_option_is_a_target_once_and_is_reached(options: int) -> None:
    """With the right answer out of reach, each run ends where its own target stands highest."""
    bound = bound_questions(1, n_classes=options, levels=(64, 192))
    (answer,) = (question.answer for question in bound.batch.questions)
    bound.biases[0, answer] += 1000
    clean = bound.batch.pixels()
    order = option_margins(bound.scores(clean), bound.batch)[0].argsort(descending=True)[:-1].tolist()
    runs = attack_losses("targeted", "words", bound.batch.questions)
    reached = []
    for loss in runs:
        first = value(loss, bound, clean)
        harm = torch.stack([bound.weights[0, o] - bound.weights[0, answer] for o in order])
        rises = [
            float(value(loss, bound, clean + 0.01 * h.reshape(clean.shape).float()) - first) for h in harm
        ]
        reached.append(
            order[int(np.argmax([rise / h.norm() ** 2 for rise, h in zip(rises, harm, strict=True)]))]
        )
    assert len(runs) == options - 1
    assert reached == order


def test_a_target_that_a_question_lacks_costs_it_nothing() -> None:
    four, two = LinearAdapter(0, 4, (8, 8), scale=0.001), LinearAdapter(0, 2, (8, 8), scale=0.001)
    bound = four.bind([*make_questions(four, 1), *make_questions(two, 1, seed=1)])
    first, second = search("pgd-linf:steps=3,loss=targeted,eps=1/255", bound, [1, 2])
    assert [attempt.objective[:8] for attempt in first.attempts] == ["target 1", "target 2", "target 3"]
    assert [attempt.objective[:8] for attempt in second.attempts] == ["target 1"]
    assert (first.forward_passes, second.forward_passes) == (12, 4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd_reaches_the_closed_form_optimum(norm: str) -> None:
    bound, harm = unbreakable(2, side=32, levels=(64, 192))
    for row, result in enumerate(search(f"apgd-{norm}:steps=30", bound, [5, 6])):
        gained = ((result.image / 255.0 - bound.batch.images[row] / 255) * harm[row]).sum()
        best = 8 / 255 * np.abs(harm[row]).sum() if norm == "linf" else 0.5 * np.linalg.norm(harm[row])
        assert gained > 0.99 * best


def test_apgd_passes_each_image_once() -> None:
    bound = bound_questions(1, levels=(64, 192), scale=0.3)
    seen: list[torch.Tensor] = []
    bound.biases[0, bound.batch.questions[0].answer] += 1000
    (result,) = search("apgd-l2:steps=20,loss=margin", watched(bound, seen), [5])
    # Stock ART takes two forward passes at every image, one for the loss and one for the gradient.
    assert result.forward_passes == result.backward_passes == len(seen) <= 21
    assert len(seen) > 10
    assert len({image.numpy().tobytes() for image in seen}) == len(seen)


def test_square_gains_more_than_noise_without_a_gradient() -> None:
    bound, harm = unbreakable(1, levels=(8, 247))
    noise, square = (
        ((search(threat, bound, [5])[0].image - bound.batch.images[0].astype(int)) * harm[0]).sum()
        for threat in ("noise:draws=100", "square:queries=100")
    )
    assert square > 1.5 * noise
    bound.weights.requires_grad_(True)
    assert search("square:queries=5", bound, [5])[0].backward_passes == 0


@pytest.mark.parametrize("shape", [(9, 40), (40, 9), (16, 16), (2, 3)])
def test_square_bears_every_shape(shape: tuple[int, int]) -> None:
    adapter = LinearAdapter(0, 4, shape, scale=0.001)
    bound = adapter.bind(make_questions(adapter, 1))
    (result,) = search("square:eps=1/255,queries=60", bound, [1])
    assert result.forward_passes > 50
    assert (result.image != bound.batch.images[0]).any()


def test_auto_breaks_whatever_its_members_break() -> None:
    bound = bound_questions(20, scale=0.03)
    steps = "steps=5"
    members = [
        f"pgd-linf:{steps}",
        f"apgd-linf:{steps}",
        f"apgd-linf:{steps},loss=margin",
        f"apgd-linf:{steps},loss=targeted",
        "square:queries=20",
    ]
    broken = {
        threat: {row for row, f in enumerate(search(threat, bound, range(20))) if f.answer is not None}
        for threat in [*members, "auto-linf:pgd_steps=5,steps=5,queries=20"]
    }
    auto = broken.pop("auto-linf:pgd_steps=5,steps=5,queries=20")
    assert set().union(*broken.values()) == auto
    assert 0 < len(auto) < 20


def test_auto_asks_later_members_about_survivors_only() -> None:
    bound = bound_questions(12, scale=0.03)
    for result in search("auto-linf:pgd_steps=5,steps=5,queries=20", bound, range(12)):
        broken = [attempt.broken for attempt in result.attempts]
        assert broken == [False] * (len(broken) - 1) + [result.answer is not None]
        assert sum(len(attempt.losses) for attempt in result.attempts) == result.forward_passes


def test_every_place_of_a_patch_is_tried_on_what_survives() -> None:
    bound, _ = unbreakable(1, side=20)
    seen: list[torch.Tensor] = []
    search("patch:places=3,steps=2", watched(bound, seen), [5])
    clean = bound.batch.pixels()
    places = load_threat("patch:places=3,steps=2").budget((20, 20), 5).places
    assert len(set(places)) == 3
    for turn, place in enumerate(places):
        outside = torch.from_numpy(~place.mask(20, 20))
        for pixels in seen[3 * turn : 3 * turn + 3]:
            torch.testing.assert_close(pixels[..., outside], clean[..., outside])
    assert load_threat("patch:places=2").budget((20, 20), 5).places == places[:2]

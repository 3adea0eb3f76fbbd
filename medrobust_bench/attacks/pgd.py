"""Projected gradient descent by ART, run per question from per-question seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
    ProjectedGradientDescentPyTorch,
)

from medrobust_bench.attacks.art_estimator import TensorEstimator
from medrobust_bench.attacks.losses import attack_losses
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.search import Search
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.specs.norm_ball import CHANNELS
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.gradient import Focus, Loss
    from medrobust_bench.specs.norm_ball import NormBallSpec
    from medrobust_bench.specs.pgd import PgdSpec


@dataclass(frozen=True, slots=True)
class Pgd(BallThreat):
    """PGD in an L∞ or L2 ball (Madry et al. 2018, https://arxiv.org/abs/1706.06083).

    Attributes:
        spec: the published specification.
    """

    spec: PgdSpec

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        return planned_ascent(
            question,
            loss=self.spec.loss,
            focus=self.spec.focus,
            restarts=self.spec.restarts,
            steps=self.spec.steps,
        )

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`."""
        height, width = bound.batch.shape
        radius = self.spec.radius(height, width)
        search = Search(bound, [self.budget((height, width), seed) for seed in seeds], watch=watch)
        ascend(
            search,
            bound,
            starts=lambda restart: random_starts(self.spec, height, width, seeds, restart),
            restarts=self.spec.restarts,
            loss=self.spec.loss,
            focus=self.spec.focus,
            norm=np.inf if self.spec.norm == "linf" else 2,
            eps=radius,
            eps_step=radius * float(self.spec.step_size / self.spec.eps),
            max_iter=self.spec.steps,
            step_shares=self.spec.step_shares(),
        )
        return search.results()


def planned_ascent(
    question: Question, *, loss: Loss = "cross-entropy", focus: Focus = "words", restarts: int, steps: int
) -> tuple[PlannedRun, ...]:
    """The runs of `ascend` on a question that withstands: every step's image, and the last iterate."""
    return tuple(
        PlannedRun(each.name, fewest=steps + 1, most=steps + 1, gradient=True)
        for _restart in range(restarts)
        for each in attack_losses(loss, focus, [question])
    )


def ascend(
    search: Search,
    bound: BoundQuestions,
    *,
    starts: Callable[[int], NDArray[np.float64]],
    restarts: int,
    loss: Loss = "cross-entropy",
    focus: Focus = "words",
    mask: torch.Tensor | None = None,
    step_shares: Sequence[float] | None = None,
    **settings: Any,
) -> None:
    """Run ART's PGD into a search, restart after restart, until every question is broken.

    Args:
        search: receives every image tried.
        bound: B questions.
        starts: offsets [B, 3, H, W] of the start from the clean images, given the number of the restart.
        restarts: how many runs at most, of each loss.
        loss: of the specification.
        focus: of the specification.
        mask: [B, 1, H, W], zero where pixels may not change.
        step_shares: the length of each step, in `eps_step`; unset, all are that long.
        settings: ART's `norm`, `eps`, `eps_step`, `max_iter`.
    """
    estimator = TensorEstimator(bound, search)
    pixels = bound.batch.pixels()
    for restart in range(restarts):
        offsets = torch.from_numpy(starts(restart)).to(pixels.device, pixels.dtype)
        for each in attack_losses(loss, focus, bound.batch.questions):
            search.begin(each)
            if not search.open_rows:
                continue
            # One forward pass for the last iterate, whose loss no gradient step has seen.
            attack = StartedPgd(estimator, offsets, step_shares=step_shares, **settings)
            search.try_images(attack.run(pixels, mask))
            search.flush()


class StartedPgd(ProjectedGradientDescentPyTorch):  # type: ignore[misc]
    """ART's PGD from a start of the caller's; ART draws its own from numpy's global state, batch by batch.

    Args:
        estimator: gives the gradients.
        offsets: [B, 3, H, W], the start relative to the clean images.
        step_shares: the length of each step of a run, in `eps_step`; unset, all are that long.
        settings: ART's `norm`, `eps`, `eps_step`, `max_iter`.
    """

    def __init__(
        self,
        estimator: TensorEstimator,
        offsets: torch.Tensor,
        *,
        step_shares: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(estimator, num_random_init=1, verbose=False, **settings)
        self._offsets = offsets
        self._step_shares = iter(step_shares or (1.0,) * self.max_iter)

    def run(self, pixels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """One run of ART's step loop; returns its last iterate.

        ART's own `generate` ends by predicting the clean and the attacked images, only to log a success rate.
        """
        targets = torch.zeros(len(pixels), self.estimator.nb_classes, device=pixels.device)
        last = self._generate_batch(pixels, targets, mask, self.eps, self.eps_step)
        return torch.from_numpy(last).to(pixels.device)

    def _compute_pytorch(
        self,
        x: torch.Tensor,
        x_init: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor | None,
        eps: float,
        eps_step: float,
        random_init: bool,
        momentum: torch.Tensor,
    ) -> torch.Tensor:
        """One step of ART's, the random start replaced."""
        if random_init:
            offsets = self._offsets if mask is None else self._offsets * mask
            x = (x + offsets).clamp(0, 1)
        stepped: torch.Tensor = super()._compute_pytorch(x, x_init, y, mask, eps, eps_step, False, momentum)
        return stepped

    def _apply_perturbation_pytorch(
        self, x: torch.Tensor, perturbation: torch.Tensor, eps_step: float
    ) -> torch.Tensor:
        """ART's step, back into the valid range; its own copies both to the device every time, and waits for it."""
        length = eps_step * next(self._step_shares)
        step = (length * perturbation).nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        return (x + step).clamp(0, 1)

    @staticmethod
    def _projection(
        values: torch.Tensor, eps: float, norm_p: float, *, suboptimal: bool = True
    ) -> torch.Tensor:
        """ART's projection for a single radius, at half of a step's cost.

        ART's own spreads the radius over a float64 array of the size of the batch, on the host, every step.
        """
        if norm_p == np.inf:
            return values.clamp(-eps, eps)
        length = torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True)
        projected: torch.Tensor = values * (eps / length.clamp_min(eps))
        return projected


def random_starts(
    spec: NormBallSpec, height: int, width: int, seeds: Sequence[int], restart: int
) -> NDArray[np.float64]:
    """Offsets [B, 3, H, W] drawn uniformly from the ball, each from its question's own seed."""
    draw_point = uniform_in_linf_ball if spec.norm == "linf" else uniform_in_l2_ball
    size, radius = CHANNELS * height * width, spec.radius(height, width)
    points = [draw_point(stream(seed, Purpose.START, restart), size, radius) for seed in seeds]
    return np.stack(points).reshape(-1, CHANNELS, height, width)


def uniform_in_linf_ball(draw: np.random.Generator, size: int, radius: float) -> NDArray[np.float64]:
    """A point drawn uniformly from the cube of half-width `radius`; [size]."""
    return draw.uniform(-radius, radius, size)


def uniform_in_l2_ball(draw: np.random.Generator, size: int, radius: float) -> NDArray[np.float64]:
    """A point drawn uniformly from the Euclidean ball: a uniform direction, length radius·U^(1/size); [size]."""
    point: NDArray[np.float64] = draw.standard_normal(size)
    point *= radius * draw.uniform() ** (1 / size) / np.linalg.norm(point)
    return point

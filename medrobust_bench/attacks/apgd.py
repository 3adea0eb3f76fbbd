"""Auto-PGD by ART, run per question from per-question seeds."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from art.attacks.evasion import auto_projected_gradient_descent

from medrobust_bench.attacks.art_estimator import RememberingEstimator
from medrobust_bench.attacks.losses import attack_losses
from medrobust_bench.attacks.pgd import random_starts
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.search import Search
from medrobust_bench.attacks.threat import BallThreat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.apgd import ApgdSpec


@dataclass(frozen=True, slots=True)
class Apgd(BallThreat):
    """Auto-PGD in an L∞ or L2 ball (Croce and Hein 2020, https://arxiv.org/abs/2003.01690).

    Attributes:
        spec: the published specification.
    """

    spec: ApgdSpec

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        return tuple(
            PlannedRun(loss.name, fewest=2, most=self.spec.steps + 1, gradient=True)
            for _restart in range(self.spec.restarts)
            for loss in attack_losses(self.spec.loss, self.spec.focus, [question])
        )

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`."""
        height, width = bound.batch.shape
        radius = self.spec.radius(height, width)
        clean = bound.batch.pixels().cpu().numpy()
        search = Search(bound, [self.budget((height, width), seed) for seed in seeds], watch=watch)
        for restart in range(self.spec.restarts):
            starts = random_starts(self.spec, height, width, seeds, restart).astype(np.float32)
            for loss in attack_losses(self.spec.loss, self.spec.focus, bound.batch.questions):
                search.begin(loss)
                if not search.open_rows:
                    continue
                estimator = RememberingEstimator(bound, search, gradients=True)
                attack = auto_projected_gradient_descent.AutoProjectedGradientDescent(
                    estimator,
                    norm=np.inf if self.spec.norm == "linf" else 2,
                    eps=radius,
                    eps_step=2 * radius,
                    max_iter=self.spec.steps,
                    nb_random_init=1,
                    batch_size=len(clean),
                    verbose=False,
                )
                with _starting_from(starts):
                    attack.generate(clean, estimator.labels)
                search.flush()
        return search.results()


@contextmanager
def _starting_from(offsets: NDArray[np.float32]) -> Iterator[None]:
    """Inside it, ART's Auto-PGD starts at these offsets; its own draws come from numpy's global state."""
    drawn_by_art = auto_projected_gradient_descent.random_sphere
    auto_projected_gradient_descent.random_sphere = lambda *_size_eps_norm: offsets
    try:
        yield
    finally:
        auto_projected_gradient_descent.random_sphere = drawn_by_art

"""Square Attack by ART: random search without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from art.attacks.evasion import SquareAttack

from medrobust_bench.attacks.art_estimator import RememberingEstimator
from medrobust_bench.attacks.global_draws import global_draws
from medrobust_bench.attacks.losses import Margin
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.search import Search
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.models.adapter import Focus
from medrobust_bench.specs.seeds import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medrobust_bench.attacks.attack_result import Finding
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.square import SquareSpec


@dataclass(frozen=True, slots=True)
class Square(BallThreat):
    """Square Attack in an L∞ ball (Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049).

    Every question runs alone: ART shares one draw among the images of a batch, and its outcome would depend on
    their company.

    Attributes:
        spec: the published specification.
    """

    spec: SquareSpec

    @property
    def needs_gradient(self) -> bool:
        """Never."""
        return False

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        # A square of the colours that are there already is no new image; the first and the last are tried besides.
        queries = self.spec.queries
        run = PlannedRun(Margin(Focus.WORDS).name, fewest=4 * queries // 5, most=queries + 2, gradient=False)
        return (run,) * self.spec.restarts

    def search(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], seeds: Sequence[int]
    ) -> list[Finding]:
        """Search for images that are answered differently; see `Threat`."""
        return [
            self._search_alone(bound.select([row]), pixels[[row]], answers[row], seeds[row])
            for row in range(len(answers))
        ]

    def _search_alone(self, bound: BoundQuestions, pixels: torch.Tensor, answer: int, seed: int) -> Finding:
        height, width = pixels.shape[2:]
        search = Search(bound, [answer], [self.budget((height, width), seed)])
        for restart in range(self.spec.restarts):
            search.begin(Margin(Focus.WORDS))
            if not search.open_rows:
                break
            self._query(RememberingEstimator(bound, search, gradients=False), search, pixels, seed, restart)
            search.settle()
        (finding,) = search.findings()
        return finding

    def _query(
        self,
        estimator: RememberingEstimator,
        search: Search,
        pixels: torch.Tensor,
        seed: int,
        restart: int,
    ) -> None:
        height, width = pixels.shape[2:]
        attack = SquareAttack(
            estimator,
            norm=np.inf,
            adv_criterion=lambda predicted, labels: np.array([not search.open_rows]),
            loss=lambda images, labels: -estimator.compute_loss(images, labels),
            max_iter=self.spec.queries,
            eps=self.spec.radius(height, width),
            p_init=min(float(self.spec.first_share), largest_share(height, width)),
            verbose=False,
        )
        with global_draws(seed, Purpose.QUERIES, restart):
            attack.generate(pixels.cpu().numpy(), estimator.labels)


def largest_share(height: int, width: int) -> float:
    """Largest share of the image that a square may have in ART's attack, which fails if one fills a whole side.

    ART rounds √(share·H·W) to the next integer.
    """
    return (max(2, min(height, width)) - 1.5) ** 2 / (height * width)

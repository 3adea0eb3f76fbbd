"""Square Attack by ART: random search without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from art.attacks.evasion import SquareAttack

from medrobust_bench.attacks.art_estimator import RememberingEstimator
from medrobust_bench.attacks.global_draws import global_draws
from medrobust_bench.attacks.losses import Focus, Margin
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.search import Search
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.specs.seeds import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Batch, BoundQuestions
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

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        # A square of the colours that are there already is no new image; the first and the last are tried besides.
        queries = self.spec.queries
        run = PlannedRun(Margin(Focus.WORDS).name, fewest=4 * queries // 5, most=queries + 2, gradient=False)
        return (run,) * self.spec.restarts

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`."""
        return [self._search_alone(bound.select([row]), seed, watch) for row, seed in enumerate(seeds)]

    def _search_alone(self, bound: BoundQuestions, seed: int, watch: Watch | None) -> AttackResult:
        search = Search(bound, [self.budget(bound.batch.shape, seed)], watch=watch)
        for restart in range(self.spec.restarts):
            search.begin(Margin(Focus.WORDS))
            if not search.open_rows:
                break
            self._query(
                RememberingEstimator(bound, search, gradients=False), search, bound.batch, seed, restart
            )
            search.flush()
        (result,) = search.results()
        return result

    def _query(
        self,
        estimator: RememberingEstimator,
        search: Search,
        batch: Batch,
        seed: int,
        restart: int,
    ) -> None:
        height, width = batch.shape
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
            attack.generate(batch.pixels().cpu().numpy(), estimator.labels)


def largest_share(height: int, width: int) -> float:
    """Largest share of the image that a square may have in ART's attack, which fails if one fills a whole side.

    ART rounds √(share·H·W) to the next integer.
    """
    return (max(2, min(height, width)) - 1.5) ** 2 / (height * width)

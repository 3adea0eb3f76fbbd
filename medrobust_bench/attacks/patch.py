"""A square patch of arbitrary content at random places, found by ART's PGD under a mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.attacks.attack_result import attack_standing
from medrobust_bench.attacks.budget import UnionOfPatches, place_square
from medrobust_bench.attacks.pgd import ascend, planned_ascent
from medrobust_bench.attacks.search import Search
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.budget import PatchBudget
    from medrobust_bench.attacks.plan import PlannedRun
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.patch import PatchSpec


@dataclass(frozen=True, slots=True)
class Patch:
    """A square whose pixels the adversary sets freely (masked PGD, L∞ radius 1).

    The places are drawn from the question's seed, not searched: the attack answers how much a square at
    unremarkable places can do. They are tried one after the other until one breaks the answer.

    Attributes:
        spec: the published specification.
    """

    spec: PatchSpec

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        ascent = planned_ascent(question, restarts=self.spec.restarts, steps=self.spec.steps)
        return ascent * self.spec.places

    def budget(self, shape: tuple[int, int], seed: int) -> UnionOfPatches:
        """The squares of this question in an image of (height, width), one of which may change."""
        return UnionOfPatches(tuple(self._place(shape, seed, index) for index in range(self.spec.places)))

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`."""
        results = self._search_place(bound, seeds, place=0, watch=watch)
        for place in range(1, self.spec.places):
            search = partial(self._search_place, place=place, watch=watch)
            results = attack_standing(results, bound, seeds, search)
        return results

    def _place(self, shape: tuple[int, int], seed: int, index: int) -> PatchBudget:
        return place_square(self.spec.area, *shape, stream(seed, Purpose.PLACE, index))

    def _search_place(
        self, bound: BoundQuestions, seeds: Sequence[int], *, place: int, watch: Watch | None
    ) -> list[AttackResult]:
        height, width = bound.batch.shape
        squares = [self._place((height, width), seed, place) for seed in seeds]
        masks = np.stack([square.mask(height, width) for square in squares])[:, None]
        clean = bound.batch.pixels().cpu().numpy()

        def starts(restart: int) -> NDArray[np.float64]:
            index = place * self.spec.restarts + restart
            draws = [stream(seed, Purpose.START, index) for seed in seeds]
            content = np.stack([draw.uniform(0, 1, clean.shape[1:]) for draw in draws])
            offsets: NDArray[np.float64] = content - clean
            return offsets

        search = Search(bound, squares, watch=watch)
        ascend(
            search,
            bound,
            starts=starts,
            restarts=self.spec.restarts,
            mask=torch.from_numpy(masks).to(bound.batch.device, torch.float32),
            norm=np.inf,
            eps=1.0,
            eps_step=float(self.spec.step_size),
            max_iter=self.spec.steps,
        )
        return search.results()

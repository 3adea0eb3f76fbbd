"""Random noise of a given budget: the control that every real attack must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.attacks.losses import CrossEntropy
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.search import Search
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.noise import NoiseSpec


@dataclass(frozen=True, slots=True)
class Noise(BallThreat):
    """Several random draws of full size, the worst kept; no gradient is taken.

    In L∞ a draw moves every value by eps, up or down at random (a corner of the ball, the largest noise there
    is); in L2 it lies on the sphere in a uniformly random direction.

    Attributes:
        spec: the published specification.
    """

    spec: NoiseSpec

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        return (PlannedRun(CrossEntropy.name, fewest=self.spec.draws, most=self.spec.draws, gradient=False),)

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`."""
        height, width = bound.batch.shape
        pixels = bound.batch.pixels()
        search = Search(bound, [self.budget((height, width), seed) for seed in seeds], watch=watch)
        for index in range(self.spec.draws):
            if not search.open_rows:
                break
            offsets = np.stack([self._draw(seed, index, height, width) for seed in seeds])
            search.try_images(
                (pixels + torch.from_numpy(offsets).to(pixels.device, pixels.dtype)).clamp(0, 1)
            )
        search.flush()
        return search.results()

    def _draw(self, seed: int, index: int, height: int, width: int) -> NDArray[np.float64]:
        draw = stream(seed, Purpose.NOISE, index)
        radius = self.spec.radius(height, width)
        if self.spec.norm == "linf":
            return radius * draw.choice([-1.0, 1.0], (3, height, width))
        point: NDArray[np.float64] = draw.standard_normal((3, height, width))
        point *= radius / np.linalg.norm(point)
        return point

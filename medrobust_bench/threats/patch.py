"""A square patch of arbitrary content at a random place, found by ART's PGD under a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.threats.budget import place_square
from medrobust_bench.threats.pgd import ascend
from medrobust_bench.threats.randomness import Purpose, stream
from medrobust_bench.threats.search import Search, to_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.threats.budget import PatchBudget
    from medrobust_bench.threats.search import Finding
    from medrobust_bench.threats.specification import PatchSpec


@dataclass(frozen=True, slots=True)
class Patch:
    """A square whose pixels the adversary sets freely (masked PGD, L∞ radius 1).

    The place is drawn from the question's seed and not searched: the attack answers how much a square at an
    unremarkable place can do.

    Attributes:
        spec: the published specification.
    """

    spec: PatchSpec

    @property
    def needs_gradient(self) -> bool:
        """Always."""
        return True

    def budget(self, shape: tuple[int, int], seed: int) -> PatchBudget:
        """The square of this question in an image of (height, width)."""
        return place_square(self.spec.area, *shape, stream(seed, Purpose.PLACE))

    def search(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], seeds: Sequence[int]
    ) -> list[Finding]:
        """Attack, with the verified answers and the cost of each question; arguments as `attack`."""
        height, width = pixels.shape[2:]
        squares = [self.budget((height, width), seed) for seed in seeds]
        masks = np.stack([square.mask(height, width) for square in squares])[:, None]
        clean = pixels.cpu().numpy()

        def starts(restart: int) -> NDArray[np.float64]:
            draws = [stream(seed, Purpose.START, restart) for seed in seeds]
            content = np.stack([draw.uniform(0, 1, clean.shape[1:]) for draw in draws])
            offsets: NDArray[np.float64] = content - clean
            return offsets

        search = Search(bound, answers, squares)
        ascend(
            search,
            bound,
            pixels,
            starts=starts,
            restarts=self.spec.restarts,
            mask=torch.from_numpy(masks).to(pixels.device, pixels.dtype),
            norm=np.inf,
            eps=1.0,
            eps_step=float(self.spec.step_size),
            max_iter=self.spec.steps,
        )
        return search.findings()

    def attack(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], seeds: Sequence[int]
    ) -> torch.Tensor:
        """Search for images that are answered differently; see `Threat`."""
        findings = self.search(bound, pixels, answers, seeds)
        return to_pixels([finding.image for finding in findings], pixels.device)

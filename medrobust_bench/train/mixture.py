"""A mixture of threats in training: of several changes of an image, the one that hurts the model most at that step.

For one question the regret of a threat is what it costs: the loss on its image less the loss on the clean one, which
is the same for all. Each prompt is trained on under the threat of the greatest regret, that of the greatest loss (the
"max" strategy of Tramèr & Boneh 2019, arXiv:1904.13000). Nothing is carried from step to step, so that a resumed
training is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medrobust_bench.attacks.art_estimator import TensorEstimator
from medrobust_bench.attacks.budget import place_square
from medrobust_bench.attacks.corruption import corruption_by_chance
from medrobust_bench.attacks.pgd import StartedPgd
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.specs.exact import Share
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.train.inner_attack import TargetLoss

BALL, PATCH, CORRUPTION = "ball", "patch", "corruption"


class MixtureSettings(BaseModel):
    """Threats beside the norm ball of the attack.

    Attributes:
        patch: share of the image that a square of arbitrary pixels covers (one pixel at least), at a place drawn for
            every prompt at every step; as many gradient steps as in the ball. None: no patch.
        corruption: severity (1 to 5) of one acquisition fault that occurs in the modality, drawn likewise. None: none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: Share | None = None
    corruption: int | None = Field(default=None, ge=1, le=5)

    @property
    def threats(self) -> tuple[str, ...]:
        """Names of all threats, that of the attack's ball first."""
        used = {PATCH: self.patch, CORRUPTION: self.corruption}
        return (BALL, *(name for name, size in used.items() if size is not None))

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.patch is None and self.corruption is None:
            raise ValueError("a mixture needs patch or corruption beside the norm ball")
        return self


def further_images(
    mixture: MixtureSettings,
    bound: BoundQuestions,
    loss: TargetLoss,
    seeds: Sequence[int],
    *,
    steps: int,
) -> dict[str, list[NDArray[np.uint8]]]:
    """What the threats beside the ball make of B bound questions: uint8 [H, W, 3] each, by threat.

    Args:
        mixture: which threats.
        bound: B questions and their clean images.
        loss: what a patch ascends.
        seeds: B seeds of places, contents and faults.
        steps: gradient steps of a patch.
    """
    made = {}
    if mixture.patch is not None:
        made[PATCH] = _patched(mixture.patch, bound, loss, seeds, steps)
    if mixture.corruption is not None:
        made[CORRUPTION] = [
            corruption_by_chance(image, question, severity=mixture.corruption, seed=seed)
            for image, question, seed in zip(bound.batch.images, bound.batch.questions, seeds, strict=True)
        ]
    return made


def worst_of(
    made: Mapping[str, Sequence[NDArray[np.uint8]]], loss: TargetLoss, device: torch.device
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Of each question's images the one of the highest loss, and whose it is; of equals the first."""
    names = list(made)
    losses = np.array([loss.values(to_pixels(list(images), device)) for images in made.values()])
    worst = [names[row] for row in losses.argmax(axis=0)]
    return [made[name][row] for row, name in enumerate(worst)], worst


def _patched(
    area: Share, bound: BoundQuestions, loss: TargetLoss, seeds: Sequence[int], steps: int
) -> list[NDArray[np.uint8]]:
    """PGD on the pixels of a square, from random content (the official `patch` with one place)."""
    pixels = bound.batch.pixels()
    height, width = pixels.shape[2:]
    squares = [place_square(area, height, width, stream(seed, Purpose.PLACE)) for seed in seeds]
    masks = np.stack([square.mask(height, width) for square in squares])[:, None]
    content = np.stack([stream(seed, Purpose.START, 1).uniform(0, 1, pixels.shape[1:]) for seed in seeds])
    offsets = torch.from_numpy(content).to(pixels.device, pixels.dtype) - pixels
    attack = StartedPgd(
        TensorEstimator(bound, loss), offsets, norm=np.inf, eps=1.0, eps_step=2.5 / steps, max_iter=steps
    )
    mask = torch.from_numpy(masks).to(pixels.device, torch.float32)
    last = attack.run(pixels, mask).permute(0, 2, 3, 1).cpu().numpy()
    return [
        square.round(clean, image)
        for square, clean, image in zip(squares, bound.batch.images, last, strict=True)
    ]

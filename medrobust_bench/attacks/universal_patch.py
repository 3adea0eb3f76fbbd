"""One patch for all images: trained by ART on questions of the training split, laid on the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from math import cos, floor, isqrt, radians, sin
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.attacks.evasion import AdversarialPatchPyTorch

from medrobust_bench.attacks.art_estimator import QuestionEstimator
from medrobust_bench.attacks.budget import LEVELS, malformed, nearest_levels
from medrobust_bench.attacks.global_draws import global_draws
from medrobust_bench.attacks.losses import CrossEntropy, loss_at
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.search import Search
from medrobust_bench.data.image import canonical
from medrobust_bench.models.memory import MemoryLimit
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions
    from medrobust_bench.specs.universal_patch import UniversalPatchSpec

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Sticker:
    """A rotated square somewhere on an image; as a budget: any content inside it, the clean image outside.

    Attributes:
        row: of its centre, in pixels.
        column: of its centre.
        side: length of a side, in pixels.
        angle: counter-clockwise rotation, degrees.
    """

    row: float
    column: float
    side: int
    angle: float

    def lay(self, clean: NDArray[np.uint8], content: NDArray[np.floating]) -> NDArray[np.float64]:
        """The clean image [H, W, 3] as floats in [0, 1] with content [S, S, 3] on it, nearest pixels taken."""
        inside, rows, columns = self._own_coordinates(*clean.shape[:2])
        cells = np.floor(np.stack([rows, columns])[:, inside] * len(content)).astype(int)
        laid: NDArray[np.float64] = clean / LEVELS
        laid[inside] = content[cells[0].clip(0, len(content) - 1), cells[1].clip(0, len(content) - 1)]
        return laid

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """True inside; [H, W]."""
        return self._own_coordinates(height, width)[0]

    def round(self, clean: NDArray[np.uint8], adversarial: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Nearest grey level inside, clean outside."""
        inside = self.mask(*clean.shape[:2])[:, :, None]
        return np.where(inside, nearest_levels(adversarial), clean).astype(np.uint8)

    def violation(self, clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> str | None:
        """Count the pixels changed outside."""
        problem = malformed(clean, adversarial)
        if problem:
            return problem
        outside = int((np.any(adversarial != clean, axis=2) & ~self.mask(*clean.shape[:2])).sum())
        return f"changes {outside} pixels outside the patch" if outside else None

    def _own_coordinates(
        self, height: int, width: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
        """Which pixels [H, W] are inside, and where every pixel is in the square's own frame, [0, 1) inside."""
        down, right = np.mgrid[:height, :width] + 0.5
        down, right = down - self.row, right - self.column
        turn = radians(self.angle)
        rows = (cos(turn) * down + sin(turn) * right) / self.side + 0.5
        columns = (cos(turn) * right - sin(turn) * down) / self.side + 0.5
        inside = (rows >= 0) & (rows < 1) & (columns >= 0) & (columns < 1)
        return inside, rows, columns


@dataclass(frozen=True, slots=True)
class UniversalPatch:
    """A patch that is made without seeing the image on which it is laid (Brown et al. 2017, arXiv:1712.09665).

    Attributes:
        spec: the published specification.
        content: [S, S, 3] in [0, 1], the trained patch; None before training.
    """

    spec: UniversalPatchSpec
    content: NDArray[np.float64] | None = None

    @property
    def training_questions(self) -> int:
        """How many questions of the training split `train` wants."""
        return self.spec.training

    def train(self, adapter: Adapter, questions: Sequence[Question], *, seed: int) -> UniversalPatch:
        """Train the patch on the questions whose images have the commonest shape and that are answered right.

        Untrained content (mid-grey) is kept where no question is left.

        Args:
            adapter: the model.
            questions: of the training split.
            seed: of the run.
        """
        images = [canonical(question.image) for question in questions]
        ((shape, _count),) = Counter(image.shape for image in images).most_common(1)
        bound = adapter.bind(
            [question for question, image in zip(questions, images, strict=True) if image.shape == shape]
        )
        answered = bound.answer(bound.batch.images)
        rows = [
            row
            for row, (question, answer) in enumerate(zip(bound.batch.questions, answered, strict=True))
            if answer.choice == question.answer
        ]
        height, width, channels = shape
        side = _side(float(self.spec.area), height, width)
        if not rows:
            return replace(self, content=np.full((side, side, channels), 0.5))
        bound = bound.select(rows)
        with global_draws(seed, Purpose.TRAINING):
            attack = _TrainedPatch(
                bound,
                rotation_max=float(self.spec.rotation),
                scale_min=side / min(height, width),
                scale_max=side / min(height, width),
                learning_rate=float(self.spec.learning_rate),
                max_iter=self.spec.epochs,
                batch_size=_BATCH,
                patch_shape=(channels, side, side),
                patch_type="square",
            )
            content, _mask = attack.generate(to_pixels(bound.batch.images).numpy(), np.arange(len(rows)))
        return replace(self, content=np.moveaxis(content, 0, 2).astype(np.float64))

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        return (PlannedRun(CrossEntropy.name, fewest=1, most=1, gradient=False),)

    def budget(self, shape: tuple[int, int], seed: int) -> Sticker:
        """Where the patch lies on this question's image: a random place, wholly inside, and a random rotation."""
        height, width = shape
        side = _side(float(self.spec.area), height, width)
        draw = stream(seed, Purpose.PLACE)
        angle = draw.uniform(-1, 1) * float(self.spec.rotation)
        reach = side / 2 * (abs(cos(radians(angle))) + abs(sin(radians(angle))))
        row, column = (
            draw.uniform(reach, length - reach) if length > 2 * reach else length / 2 for length in shape
        )
        return Sticker(row=float(row), column=float(column), side=side, angle=float(angle))

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Lay the patch on every image; see `Threat`.

        Raises:
            RuntimeError: before training.
        """
        if self.content is None:
            raise RuntimeError(f"{self.spec.name} has not been trained")
        stickers = [
            self.budget(image.shape[:2], seed) for image, seed in zip(bound.batch.images, seeds, strict=True)
        ]
        laid = [
            sticker.lay(image, self.content)
            for sticker, image in zip(stickers, bound.batch.images, strict=True)
        ]
        search = Search(bound, stickers, watch=watch)
        search.try_images(
            torch.from_numpy(np.stack(laid)).permute(0, 3, 1, 2).to(bound.batch.device, torch.float32)
        )
        search.flush()
        return search.results()


class _TrainedPatch(AdversarialPatchPyTorch):  # type: ignore[misc]
    """ART's patch, untargeted, against the loss of the questions that a batch holds.

    ART shuffles images; the label that travels with each is its question's row.

    Args:
        bound: N questions.
        settings: ART's.
    """

    def __init__(self, bound: BoundQuestions, **settings: Any) -> None:
        estimator = QuestionEstimator(bound)
        estimator.nb_classes = max(2, len(bound.batch))  # ART knows no single class
        super().__init__(estimator, targeted=False, verbose=False, **settings)
        self._bound = bound
        self._memory = MemoryLimit()

    def _train_step(self, images: torch.Tensor, target: torch.Tensor, mask: object = None) -> torch.Tensor:
        self._optimizer.zero_grad()  # ART lets the patch's gradients add up over all steps
        loss: torch.Tensor = super()._train_step(images, target, mask)
        return loss

    def _loss(self, images: torch.Tensor, target: torch.Tensor, mask: object) -> torch.Tensor:
        rows = target.argmax(dim=1).tolist()
        laid = self._random_overlay(images, self._patch, mask=mask).clamp(0, 1)
        gradient = torch.stack(
            self._memory.run(partial(self._gradient, rows, laid.detach()), range(len(rows)))
        )
        surrogate: torch.Tensor = -(laid * gradient).sum() / len(rows)  # has the mean loss's gradient
        return surrogate

    def _gradient(
        self, rows: Sequence[int], laid: torch.Tensor, part: Sequence[int]
    ) -> Sequence[torch.Tensor]:
        """Gradients [3, H, W] of the losses of some of the questions in their images."""
        images = laid[part[0] : part[-1] + 1].requires_grad_()
        with torch.enable_grad():
            bound = self._bound.select([rows[place] for place in part])
            losses = loss_at(CrossEntropy(), bound, images, [""] * len(part)).value
        (gradient,) = torch.autograd.grad(losses.sum(), images)
        return gradient.unbind()


def _side(area: float, height: int, width: int) -> int:
    """The side in whole pixels of a square of that share of the image."""
    return max(2, min(isqrt(floor(area * height * width)), height, width))

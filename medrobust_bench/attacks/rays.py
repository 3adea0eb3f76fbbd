"""RayS: an attack by answers alone, with a budget of queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.attacks.attack_result import AttackResult, Attempt
from medrobust_bench.attacks.plan import PlannedRun
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.models.pixels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Answer, BoundQuestions
    from medrobust_bench.specs.rays import RaysSpec

OBJECTIVE = "nearness of a wrong answer"
UNKNOWN = 256
"""A distance beyond that of any two images."""


@dataclass(frozen=True, slots=True)
class Rays(BallThreat):
    """RayS in an L∞ ball (Chen and Gu 2020, https://arxiv.org/abs/2006.12792).

    Along rays from the clean image that move every value by the same amount, up or down, it looks for the shortest way
    to a wrong answer, and turns the signs of ever smaller blocks of values as long as that shortens the way. It needs
    nothing but answers, and every image that it asks about is an 8-bit one: the way is measured in whole grey levels,
    which replaces the tolerance of the paper's binary search. As an answer inside the ball is all that is wanted,
    no way is followed further in. The last query is the ball's own end of the best ray.

    All questions ask at the same time, each by its own search: what becomes of one does not depend on the others.

    Attributes:
        spec: the published specification.
    """

    spec: RaysSpec

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        queries = self.spec.queries
        return (PlannedRun(OBJECTIVE, fewest=queries, most=queries, gradient=False),)

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`. No randomness: seeds are not used.

        Steering answers may come from a batch; what breaks a question is answered alone.
        """
        walks = [_Walk.begin(image, self.spec.levels) for image in bound.batch.images]
        for query in range(self.spec.queries):
            rows = [row for row, walk in enumerate(walks) if walk.answer is None]
            if not rows:
                break
            last = query == self.spec.queries - 1
            images = [walks[row].end if last else walks[row].next for row in rows]
            answers = bound.select(rows).answer(images, exact=last)
            for row, image, answer in zip(rows, images, answers, strict=True):
                walk, question = walks[row], bound.batch.questions[row]
                wrong = answer.choice != question.answer
                if wrong and walk.inside(image):
                    (answer,) = bound.select([row]).answer([image])
                    wrong = answer.choice != question.answer
                    walk.checks += not last
                if watch is not None:
                    watch(question, torch.from_numpy(np.moveaxis(image, 2, 0) / np.float32(LEVELS)), wrong)
                walk.told(image, answer, wrong=wrong)
        return [walk.result(queries=self.spec.queries) for walk in walks]


@dataclass(slots=True)
class _Walk:
    """The search of one question.

    Attributes:
        clean: uint8 [H, W, 3].
        levels: radius of the ball in grey levels.
        state: what the search knows.
        steps: its images, answered with whether they were answered wrongly.
        next: the image to be asked about.
        answer: the wrong one inside the ball; None: there is none yet.
        image: that it was given to.
        losses: what was reached at each query.
        checks: answers asked for beside the queries, to confirm.
    """

    clean: NDArray[np.uint8]
    levels: int
    state: _Nearest
    steps: Generator[NDArray[np.uint8], bool, None]
    next: NDArray[np.uint8]
    answer: Answer | None = None
    image: NDArray[np.uint8] | None = None
    losses: list[float] = field(default_factory=list)
    checks: int = 0

    @classmethod
    def begin(cls, clean: NDArray[np.uint8], levels: int) -> _Walk:
        state = _Nearest(np.ones((3, *clean.shape[:2]), dtype=np.int16), UNKNOWN)
        steps = shorten(clean, state, levels)
        return cls(clean, levels, state, steps, next(steps))

    @property
    def end(self) -> NDArray[np.uint8]:
        """Where the best ray leaves the ball."""
        return along(self.clean, self.state.signs, self.levels)

    def inside(self, image: NDArray[np.uint8]) -> bool:
        return int(np.abs(image.astype(np.int16) - self.clean).max(initial=0)) <= self.levels

    def told(self, image: NDArray[np.uint8], answer: Answer, *, wrong: bool) -> None:
        """The answer to an image: the search goes on, or ends with it."""
        if wrong and self.inside(image):
            self.answer, self.image = answer, image
            self.losses.append(-1.0)
            return
        self.next = self.steps.send(wrong)
        self.losses.append(-self.state.distance / self.levels)

    def result(self, *, queries: int) -> AttackResult:
        broken = self.answer is not None
        return AttackResult(
            image=self.end if self.image is None else self.image,
            answer=self.answer,
            forward_passes=0,
            backward_passes=0,
            checks=len(self.losses) + self.checks,
            attempts=(Attempt(OBJECTIVE, tuple(self.losses), broken),),
        )


@dataclass(slots=True)
class _Nearest:
    """The shortest way to a wrong answer that is known.

    Attributes:
        signs: int16 [3, H, W], each 1 or -1: the ray.
        distance: in grey levels; UNKNOWN: none is known.
    """

    signs: NDArray[np.int16]
    distance: int


def along(clean: NDArray[np.uint8], signs: NDArray[np.int16], distance: int) -> NDArray[np.uint8]:
    """The image [H, W, 3] so many grey levels along a ray, signs [3, H, W], as far as black or white."""
    moved = clean.astype(np.int16) + distance * np.moveaxis(signs, 0, 2)
    image: NDArray[np.uint8] = np.clip(moved, 0, LEVELS).astype(np.uint8)
    return image


def shorten(
    clean: NDArray[np.uint8], known: _Nearest, levels: int
) -> Generator[NDArray[np.uint8], bool, None]:
    """Images to ask about, without end; each is answered with whether its answer was wrong (Algorithms 1 to 3).

    Args:
        clean: uint8 [H, W, 3].
        known: where to begin; kept up to date.
        levels: radius of the ball: no way is followed further in.
    """
    flips = blocks(known.signs.size)
    turned = known.signs
    while True:
        reach = min(LEVELS, known.distance - 1)
        if (yield along(clean, turned, reach)):
            low, high = (
                levels,
                reach,
            )  # the way ends somewhere in between, if a longer one along it never ends right
            while low < high:
                middle = (low + high) // 2
                if (yield along(clean, turned, middle)):
                    high = middle
                else:
                    low = middle + 1
            known.signs, known.distance = turned, high
        turned = known.signs.copy()
        turned.reshape(-1)[next(flips)] *= -1


def blocks(size: int) -> Generator[slice, None, None]:
    """Blocks of values whose signs are turned: all, halves, quarters, … down to single ones, then from the start."""
    while True:
        for count in (2**level for level in range((size - 1).bit_length() + 1)):
            width = -(-size // count)
            yield from (slice(start, start + width) for start in range(0, size, width))

"""What an attack found out about one question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of an attack on one question: one start, one objective.

    Attributes:
        objective: what it ascended.
        losses: its value at every image tried, in order.
        broken: whether the question was broken, verified on the deployed path, when it ended.
    """

    objective: str
    losses: tuple[float, ...]
    broken: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What a search found out about one question.

    Attributes:
        image: uint8 [H, W, 3], inside the budget: the image that was verified to break the answer, else the
            one of highest loss.
        answer: the deployed answer to `image` where it breaks the right one; None where none was broken.
        forward_passes: forward passes of this question through the float path.
        backward_passes: gradients of this question.
        checks: deployed answers asked for.
        rounded_away: the float path left the right answer, but no 8-bit image of it did: a success that
            exists in floating point only. Known for models that score options.
        attempts: the runs made, in order.
    """

    image: NDArray[np.uint8]
    answer: Answer | None
    forward_passes: int
    backward_passes: int
    checks: int
    rounded_away: bool = False
    attempts: tuple[Attempt, ...] = ()


def worse(first: Finding, later: Finding) -> Finding:
    """Both searches of one question as one: the image that broke it if either did, costs added.

    `rounded_away` holds where either search saw it and neither broke the question.
    """
    kept = later if first.answer is None and later.answer is not None else first
    return replace(
        kept,
        forward_passes=first.forward_passes + later.forward_passes,
        backward_passes=first.backward_passes + later.backward_passes,
        checks=first.checks + later.checks,
        rounded_away=(first.rounded_away or later.rounded_away) and kept.answer is None,
        attempts=first.attempts + later.attempts,
    )

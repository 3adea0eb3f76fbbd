"""What an attack found out about one question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of an attack on one question: one start, one loss.

    Attributes:
        objective: name of the loss that it ascended.
        losses: its value at every image tried, in order.
        broken: whether the question was broken, verified on the deployed path, when it ended.
    """

    objective: str
    losses: tuple[float, ...]
    broken: bool


@dataclass(frozen=True, slots=True)
class AttackResult:
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


def merge_results(first: AttackResult, later: AttackResult) -> AttackResult:
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


def attack_standing(
    results: Sequence[AttackResult],
    bound: BoundQuestions,
    seeds: Sequence[int],
    search: Callable[[BoundQuestions, Sequence[int]], Sequence[AttackResult]],
) -> list[AttackResult]:
    """Attack the questions that still stand once more.

    Args:
        results: of what was tried before.
        bound: B questions.
        seeds: B integers, one per question.
        search: the further attack; not called where no question stands.

    Returns:
        The results, with those of the further attack merged in.
    """
    merged = list(results)
    standing = [row for row, result in enumerate(results) if result.answer is None]
    later = search(bound.select(standing), [seeds[row] for row in standing]) if standing else ()
    for row, result in zip(standing, later, strict=True):
        merged[row] = merge_results(merged[row], result)
    return merged

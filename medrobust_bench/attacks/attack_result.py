"""What an attack found out about one question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.deployed_answers import deployed_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An image whose answer may be wrong, not yet put to the deployed path.

    Attributes:
        image: uint8 [H, W, 3], inside the budget.
        attempt: which of the question's attempts tried it.
        flipped: whether the float path had left the right answer.
    """

    image: NDArray[np.uint8]
    attempt: int
    flipped: bool


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
        waiting: of a question that stands as yet, images that may break it: where answers are generated, one image
            costs as much as several, so that the last of a search waits for those of the next, see `settled`.
    """

    image: NDArray[np.uint8]
    answer: Answer | None
    forward_passes: int
    backward_passes: int
    checks: int
    rounded_away: bool = False
    attempts: tuple[Attempt, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def merge_results(first: AttackResult, later: AttackResult) -> AttackResult:
    """Both searches of one question as one: the image that broke it if either did, costs added.

    `rounded_away` holds where either search saw it and neither broke the question.
    """
    kept = later if first.answer is None and later.answer is not None else first
    behind = (replace(one, attempt=one.attempt + len(first.attempts)) for one in later.waiting)
    return replace(
        kept,
        forward_passes=first.forward_passes + later.forward_passes,
        backward_passes=first.backward_passes + later.backward_passes,
        checks=first.checks + later.checks,
        rounded_away=(first.rounded_away or later.rounded_away) and kept.answer is None,
        attempts=first.attempts + later.attempts,
        waiting=() if kept.answer is not None else (*first.waiting, *behind),
    )


def attack_standing(
    results: Sequence[AttackResult],
    bound: BoundQuestions,
    seeds: Sequence[int],
    search: Callable[[BoundQuestions, Sequence[int]], Sequence[AttackResult]],
) -> list[AttackResult]:
    """Attack the questions that still stand once more, those with two images that wait settled before.

    Args:
        results: of what was tried before.
        bound: B questions.
        seeds: B integers, one per question.
        search: the further attack; not called where no question stands.

    Returns:
        The results, with those of the further attack merged in.
    """
    merged = settled(results, bound, least=2)
    standing = [row for row, result in enumerate(merged) if result.answer is None]
    later = search(bound.select(standing), [seeds[row] for row in standing]) if standing else ()
    for row, result in zip(standing, later, strict=True):
        merged[row] = merge_results(merged[row], result)
    return merged


def settled(results: Sequence[AttackResult], bound: BoundQuestions, *, least: int = 1) -> list[AttackResult]:
    """Results with the images that wait put to the deployed path, those of all questions at once.

    Args:
        results: of B questions.
        bound: the questions.
        least: only questions with so many waiting images are settled.
    """
    asked = {
        row: _in_company(result)
        for row, result in enumerate(results)
        if result.answer is None and len(result.waiting) >= least
    }
    said = deployed_answers(bound, asked)
    return [
        _settled(result, asked[row], said[row], bound.batch.answers[row]) if row in said else result
        for row, result in enumerate(results)
    ]


def _in_company(result: AttackResult) -> list[NDArray[np.uint8]]:
    """The images that wait; a single one together with the image that the verdict will be on, if that is another."""
    images = [one.image for one in result.waiting]
    alone = len(images) == 1 and not np.array_equal(images[0], result.image)
    return [*images, result.image] if alone else images


def _settled(
    result: AttackResult, images: Sequence[NDArray[np.uint8]], answers: Sequence[Answer], right: int
) -> AttackResult:
    """A result with the answers to its waiting images, and to its own behind them."""
    tried = [*(one.attempt for one in result.waiting), len(result.attempts) - 1]
    result = replace(result, checks=result.checks + len(images), waiting=())
    wrong = [place for place, answer in enumerate(answers) if answer.choice != right]
    if not wrong:
        return result
    place = next((place for place in wrong if answers[place].choice is not None), wrong[0])
    attempts = tuple(
        replace(attempt, broken=True) if number == tried[place] else attempt
        for number, attempt in enumerate(result.attempts)
    )
    return replace(result, image=images[place], answer=answers[place], rounded_away=False, attempts=attempts)

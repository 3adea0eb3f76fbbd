"""What the deployed path says to images that an attack has found promising."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions


def deployed_answers(
    bound: BoundQuestions,
    asked: Mapping[int, Sequence[NDArray[np.uint8]]],
    *,
    unparsed: Collection[int] = (),
) -> dict[int, list[Answer]]:
    """The answers to a few images of some questions; those that claim a success are as exact as verdicts.

    Where answers are generated, all are written at once for a fraction of the cost of one at a time, and an answer that
    is right only steers the search. A claim is confirmed by writing it alone: of each question the first one, and the
    next only where that does not hold.

    Args:
        bound: B questions.
        asked: by position of the question, its images, uint8 [H, W, 3].
        unparsed: positions of questions that an unparsable answer has broken already; only a wrong one breaks them
            anew.

    Returns:
        By position the answers to its images in order, up to the first that is wrong.
    """
    rows = [row for row, images in asked.items() for _ in images]
    images = [image for of_row in asked.values() for image in of_row]
    if not rows:
        return {}
    answers = iter(bound.select(rows).answer(images, exact=bound.generation is None))
    said = {row: [next(answers) for _ in of_row] for row, of_row in asked.items()}
    if bound.generation is None:
        return said
    right, broken = bound.batch.answers, set(unparsed)
    for turn in range(max(map(len, said.values()))):
        claims = [
            row
            for row, of_row in said.items()
            if turn < len(of_row)
            and of_row[turn].choice != right[row]
            and not (of_row[turn].choice is None and row in broken)
        ]
        if not claims:
            continue
        exact = bound.select(claims).answer([asked[row][turn] for row in claims])
        for row, answer in zip(claims, exact, strict=True):
            said[row][turn] = answer
            if answer.choice is None:
                broken.add(row)
            elif answer.choice != right[row]:
                said[row] = said[row][: turn + 1]
    return said

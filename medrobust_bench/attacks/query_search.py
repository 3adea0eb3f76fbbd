"""A search that needs answers only: whoever chooses the images, they are shown until one is answered wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from medrobust_bench.attacks.deployed_answers import deployed_answers
from medrobust_bench.attacks.losses import Focus, Margin, loss_at
from medrobust_bench.models.adapter import NoScoresError
from medrobust_bench.models.pixels import to_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions

T = TypeVar("T")

GRACE = 10
"""Images that are still shown for a plainly wrong answer after an unparsable one, which counts as wrong too."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a search found out about one question.

    Attributes:
        how: how the decisive image was made: the first that was answered wrongly, else the first without a parsable
            answer, else the one that came closest.
        image: uint8 [H, W, 3].
        answer: the deployed answer to it; None where it was not asked, since it is certainly right.
        shown: images that were tried.
        passes: forward passes, deployed answers among them.
    """

    how: T
    image: NDArray[np.uint8]
    answer: Answer | None
    shown: int
    passes: int


@dataclass(slots=True)
class _Entry(Generic[T]):
    """What is known about one question while the search runs."""

    decisive: tuple[T, NDArray[np.uint8], Answer | None] | None = None
    lead: float = float("-inf")
    scored: bool = True
    grace: int | None = None
    open: bool = True
    shown: int = 0
    passes: int = 0


class QuerySearch(Generic[T]):
    """Images shown to B questions, until they are answered wrongly.

    Where the model gives scores, an image is put to the deployed path only if its answer may have changed; where it
    gives none, as servers do that return texts alone, every image is. What becomes of a question does not depend on
    the others.

    Args:
        bound: B questions.
    """

    def __init__(self, bound: BoundQuestions) -> None:
        self._bound = bound
        self._loss = Margin(Focus.WORDS)
        self._entries: list[_Entry[T]] = [_Entry() for _ in bound.batch.questions]

    @property
    def open_rows(self) -> list[int]:
        """Positions of the questions for which another image may be tried."""
        return [row for row, entry in enumerate(self._entries) if entry.open]

    def show(self, tried: Mapping[int, tuple[T, NDArray[np.uint8]]]) -> dict[int, float]:
        """Try one image of each of some questions.

        Args:
            tried: by position, how an image was made and the image, uint8 [H, W, 3].

        Returns:
            By position the lead of the strongest wrong option over the right one, in nats; 0 where the model gives no
            scores.
        """
        leads: dict[int, float] = {}
        doubtful = []
        for row, (lead, may_have_changed) in self._leads(tried).items():
            entry = self._entries[row]
            entry.shown += 1
            leads[row] = lead
            if entry.decisive is None or (entry.grace is None and lead > entry.lead):
                entry.decisive, entry.lead = (*tried[row], None), lead
            if may_have_changed:
                doubtful.append(row)
            if entry.grace is not None:
                entry.grace -= 1
                entry.open = entry.grace > 0
        if doubtful:
            said = deployed_answers(
                self._bound,
                {row: [tried[row][1]] for row in doubtful},
                unparsed={row for row in doubtful if self._entries[row].grace is not None},
            )
            for row, (answer,) in said.items():
                self._judge(row, *tried[row], answer)
        return leads

    def results(self) -> list[Found[T] | None]:
        """By question what was found out; None where no image was tried."""
        return [
            None if entry.decisive is None else Found(*entry.decisive, shown=entry.shown, passes=entry.passes)
            for entry in self._entries
        ]

    def _judge(self, row: int, how: T, image: NDArray[np.uint8], answer: Answer) -> None:
        entry = self._entries[row]
        entry.passes += 1
        if answer.choice is None:
            if entry.grace is None:
                entry.decisive, entry.grace = (how, image, answer), GRACE
        elif answer.choice != self._bound.batch.questions[row].answer:
            entry.decisive, entry.open = (how, image, answer), False

    def _leads(self, tried: Mapping[int, tuple[T, NDArray[np.uint8]]]) -> dict[int, tuple[float, bool]]:
        """By position the lead, and whether the deployed answer may have changed."""
        rows = [row for row in tried if self._entries[row].scored]
        unknown = dict.fromkeys(tried, (0.0, True))
        try:
            return unknown | self._scored(rows, tried)
        except NoScoresError:
            found = unknown
        for row in rows:  # those for which there are scores lose nothing by the others
            try:
                found |= self._scored([row], tried)
            except NoScoresError:
                self._entries[row].scored = False
        return found

    def _scored(
        self, rows: list[int], tried: Mapping[int, tuple[T, NDArray[np.uint8]]]
    ) -> dict[int, tuple[float, bool]]:
        if not rows:
            return {}
        bound = self._bound.select(rows)
        pixels = to_pixels([tried[row][1] for row in rows], bound.batch.device)
        with torch.no_grad():
            loss = loss_at(self._loss, bound, pixels, [""] * len(rows))
        for row in rows:
            self._entries[row].passes += 1
        numbers = zip(rows, loss.numbers(), strict=True)
        return {row: (value, doubtful) for row, (value, doubtful, _flipped) in numbers}

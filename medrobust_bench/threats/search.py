"""The ledger of an adversarial search: best image so far, verified successes, cost; one entry per question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.models.adapter import Answer, BoundQuestions, ReferenceLoss
    from medrobust_bench.threats.budget import Budget

GENERATION_INTERVAL = 5
"""Forward passes between two checks of a question whose deployed answer is generated.

A generated answer costs many forward passes, so that the deployed path is asked only about the most promising
image of the last few, and at the end. An answer chosen by likelihood costs one pass: every doubt is checked.
"""


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
    """

    image: NDArray[np.uint8]
    answer: Answer | None
    forward_passes: int
    backward_passes: int
    checks: int


@dataclass(slots=True)
class _Entry:
    """What is known about one question while the search runs."""

    best: torch.Tensor | None = None
    best_loss: float = float("-inf")
    pending: torch.Tensor | None = None
    pending_loss: float = float("-inf")
    passes_until_check: int = 0
    checked: NDArray[np.uint8] | None = field(default=None, repr=False)
    witness: tuple[NDArray[np.uint8], Answer] | None = None
    open: bool = True
    forward_passes: int = 0
    backward_passes: int = 0
    checks: int = 0


class Search:
    """An adversarial search over B bound questions, whoever chooses the images to try.

    Every image tried goes through `gradient` or `try_images`, which remember for each question the image of
    highest loss. Where the model reports doubt about its answer, the image is rounded into the budget and put
    to the deployed path; a question is broken only if that answers the exact 8-bit image wrongly. A broken
    question is closed: it costs no further pass, and its gradient is zero. An unparsable answer also breaks a
    question, but the search goes on, since a wrong answer is the clearer finding.

    What becomes of a question depends only on the images tried for it, not on the rest of the batch.

    Args:
        bound: B questions.
        answers: B option indices, the right answers.
        budgets: B budgets, one per question.
    """

    def __init__(self, bound: BoundQuestions, answers: Sequence[int], budgets: Sequence[Budget]) -> None:
        self._bound = bound
        self._answers = tuple(answers)
        self._budgets = tuple(budgets)
        self._clean = bound.images
        if not len(self._clean) == len(self._answers) == len(self._budgets):
            raise ValueError(
                f"{len(self._clean)} questions, {len(self._answers)} answers, {len(self._budgets)} budgets"
            )
        self._entries = [_Entry() for _ in self._answers]
        self._selected: tuple[list[int], BoundQuestions] = (list(range(len(self._answers))), bound)

    @property
    def open_rows(self) -> list[int]:
        """Positions of the questions that are still answered right, or unparsably at worst."""
        return [row for row, entry in enumerate(self._entries) if entry.open]

    def gradient(self, pixels: torch.Tensor) -> torch.Tensor:
        """Gradient of the reference loss; the images tried count as any other.

        Args:
            pixels: [B, 3, H, W] float in [0, 1].

        Returns:
            [B, 3, H, W]; zero for questions already broken.
        """
        gradient = torch.zeros_like(pixels)
        rows = self.open_rows
        if rows:
            tried = _in_range(pixels[rows]).requires_grad_(True)
            loss = self._loss(rows, tried)
            (open_gradient,) = torch.autograd.grad(loss.nll.sum(), tried)
            gradient[rows] = open_gradient.to(gradient.dtype)
            for row in rows:
                self._entries[row].backward_passes += 1
            self._record(rows, tried.detach(), loss)
        return gradient

    def try_images(self, pixels: torch.Tensor) -> None:
        """Try images without a gradient: [B, 3, H, W] float in [0, 1]."""
        rows = self.open_rows
        if rows:
            tried = _in_range(pixels[rows])
            with torch.no_grad():
                loss = self._loss(rows, tried)
            self._record(rows, tried, loss)

    def settle(self) -> None:
        """Check every doubt that is still waiting, as at the end of a run."""
        self._check([row for row in self.open_rows if self._entries[row].pending is not None])

    def findings(self) -> list[Finding]:
        """What was found out about each of the B questions."""
        return [self._finding(row, entry) for row, entry in enumerate(self._entries)]

    def _loss(self, rows: list[int], tried: torch.Tensor) -> ReferenceLoss:
        return self._select(rows).reference_loss(tried, [self._answers[row] for row in rows])

    def _select(self, rows: list[int]) -> BoundQuestions:
        if self._selected[0] != rows:
            self._selected = (rows, self._bound.select(rows))
        return self._selected[1]

    def _record(self, rows: list[int], tried: torch.Tensor, loss: ReferenceLoss) -> None:
        losses, doubts = loss.nll.detach().tolist(), loss.doubt.tolist()
        due = []
        for row, image, value, doubt in zip(rows, tried, losses, doubts, strict=True):
            entry = self._entries[row]
            entry.forward_passes += 1
            entry.passes_until_check = max(0, entry.passes_until_check - 1)
            if entry.best is None or value > entry.best_loss:
                entry.best, entry.best_loss = image.clone(), value
            if doubt and (entry.pending is None or value > entry.pending_loss):
                entry.pending, entry.pending_loss = image.clone(), value
            if entry.pending is not None and entry.passes_until_check == 0:
                due.append(row)
        self._check(due)

    def _check(self, rows: list[int]) -> None:
        """Put the pending images of these questions to the deployed path."""
        new: list[int] = []
        for row in rows:
            entry = self._entries[row]
            assert entry.pending is not None
            image = self._round(row, entry.pending)
            entry.pending, entry.pending_loss = None, float("-inf")
            if entry.checked is None or not np.array_equal(image, entry.checked):
                entry.checked = image
                new.append(row)
        if not new:
            return
        images = [checked for row in new if (checked := self._entries[row].checked) is not None]
        for row, image, answer in zip(new, images, self._bound.select(new).answer(images), strict=True):
            entry = self._entries[row]
            entry.checks += 1
            entry.passes_until_check = GENERATION_INTERVAL if answer.text else 0
            if answer.choice is None:
                entry.witness = entry.witness or (image, answer)
            elif answer.choice != self._answers[row]:
                entry.witness, entry.open = (image, answer), False
                entry.best = None

    def _round(self, row: int, image: torch.Tensor) -> NDArray[np.uint8]:
        return self._budgets[row].round(self._clean[row], image.permute(1, 2, 0).cpu().numpy())

    def _finding(self, row: int, entry: _Entry) -> Finding:
        if entry.witness is not None:
            image, answer = entry.witness
        else:
            image = self._clean[row] if entry.best is None else self._round(row, entry.best)
            answer = None
        return Finding(image, answer, entry.forward_passes, entry.backward_passes, entry.checks)


def _in_range(pixels: torch.Tensor) -> torch.Tensor:
    """A detached copy in [0, 1]: adding a clipped change back to the clean image may overshoot by a rounding."""
    return pixels.detach().clamp(0, 1)


def to_pixels(images: Sequence[NDArray[np.uint8]], device: torch.device | None = None) -> torch.Tensor:
    """[B, 3, H, W] float32, multiples of 1/255, of B uint8 images [H, W, 3] of one shape."""
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float().contiguous() / 255

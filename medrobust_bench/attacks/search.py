"""The ledger of an adversarial search: best image so far, verified successes, cost; one entry per question."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.attacks.attack_result import AttackResult, Attempt, Waiting
from medrobust_bench.attacks.deployed_answers import deployed_answers
from medrobust_bench.attacks.losses import CrossEntropy, loss_at, loss_of_answers
from medrobust_bench.models.adapter import NoScoresError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.budget import Budget
    from medrobust_bench.attacks.losses import AttackLoss, Loss
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Answer, BoundQuestions

    Watch = Callable[[Question, torch.Tensor, bool], None]
    """Told of every image that is tried: the question, the image [3, H, W], and whether the float path had flipped."""

GENERATION_INTERVAL = 5
"""Forward passes between two checks of a question whose deployed answer is generated.

A generated answer costs many forward passes, so that the deployed path is asked only about the most promising
image of the last few, and at the end. An answer chosen by likelihood costs one pass: it is checked
whenever it may have flipped.
"""

TOGETHER = 2
"""Images of a question that are put to the deployed path at once, where answers are generated.

Two answers are written in the time of one, so that a question needs no company to be answered in a batch. A broken
question is seen to be broken up to one interval later; the image that breaks it is the same.
"""

GRACE = 10
"""Forward passes in which a question whose answer has become unparsable may still be brought to a wrong one."""


@dataclass(slots=True)
class _Entry:
    """What is known about one question while the search runs."""

    best: torch.Tensor | None = None
    best_value: float = float("-inf")
    pending: torch.Tensor | None = None
    pending_value: float = float("-inf")
    pending_flipped: bool = False
    passes_until_check: int = 0
    waiting: list[Waiting] = field(default_factory=list)
    queued: NDArray[np.uint8] | None = field(default=None, repr=False)
    completion: str = ""
    witness: tuple[NDArray[np.uint8], Answer] | None = None
    grace: int = GRACE
    open: bool = True
    applies: bool = True
    forward_passes: int = 0
    backward_passes: int = 0
    checks: int = 0
    rounded_away: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class Search:
    """An adversarial search over B bound questions, whoever chooses the images to try.

    Every image tried goes through `measure`, which counts its cost and remembers for each question the image of highest
    loss. Where the answer may have flipped, the image is rounded into the budget and put to the deployed path; a
    question is broken only if that answers the exact 8-bit image wrongly. A broken question is closed: it costs
    no further pass, and its gradient is zero. An unparsable answer also breaks a question, but the search goes on
    for a few passes, since a wrong answer is the clearer finding.

    What becomes of a question depends only on the images tried for it, not on the rest of the batch.

    Args:
        bound: B questions.
        budgets: B budgets, one per question.
        watch: see `Watch`.
    """

    def __init__(
        self, bound: BoundQuestions, budgets: Sequence[Budget], *, watch: Watch | None = None
    ) -> None:
        self._bound = bound
        self._batch = bound.batch
        self._budgets = tuple(budgets)
        self._watch = watch
        if len(self._batch) != len(self._budgets):
            raise ValueError(f"{len(self._batch)} questions, {len(self._budgets)} budgets")
        self._together = 1 if bound.generation is None else TOGETHER
        self._loss: AttackLoss = CrossEntropy()
        self._entries = [_Entry() for _ in self._budgets]
        self._selected: tuple[list[int], BoundQuestions] = (list(range(len(self._budgets))), bound)

    @property
    def open_rows(self) -> list[int]:
        """Positions of the questions that are still answered right, and that the loss applies to."""
        return [row for row, entry in enumerate(self._entries) if entry.open and entry.applies]

    def begin(self, loss: AttackLoss) -> None:
        """Begin a run with a loss of its own; values of different losses are not compared."""
        for entry, question in zip(self._entries, self._batch.questions, strict=True):
            entry.applies = loss.applies_to(question)
            if loss.name != self._loss.name:
                entry.best_value = float("-inf")
        self._loss = loss

    def measure(
        self, pixels: torch.Tensor, *, gradient: bool = True, among: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Try images.

        Args:
            pixels: [B, 3, H, W] float in [0, 1].
            gradient: differentiate the loss.
            among: try only the images of these questions; unset, of all.

        Returns:
            The loss [B] and its gradient [B, 3, H, W], zero where no image was tried (a closed question's never
            is) and the gradient where none is taken.
        """
        values, gradients = pixels.new_zeros(len(pixels)), torch.zeros_like(pixels)
        rows = [row for row in self.open_rows if among is None or row in among]
        if rows:
            # A list of rows would be copied to the device anew, at every step.
            place = slice(None) if len(rows) == len(pixels) else torch.tensor(rows, device=pixels.device)
            tried = _in_range(pixels[place]).requires_grad_(gradient)
            with torch.set_grad_enabled(gradient):
                loss = self._loss_at(rows, tried)
            if gradient:
                (open_gradient,) = torch.autograd.grad(loss.value.sum(), tried)
                gradients[place] = open_gradient.to(gradients.dtype)
                for row in rows:
                    self._entries[row].backward_passes += 1
            values[place] = loss.value.detach().to(values)
            self._record(rows, tried.detach(), loss)
        return values, gradients

    def gradient(self, pixels: torch.Tensor) -> torch.Tensor:
        """Gradient [B, 3, H, W] of the loss at images [B, 3, H, W], which count as tried; zero for closed questions."""
        return self.measure(pixels)[1]

    def try_images(self, pixels: torch.Tensor) -> None:
        """Try images without a gradient: [B, 3, H, W] float in [0, 1]."""
        self.measure(pixels, gradient=False)

    def flush(self) -> None:
        """End a run: check the images that are still waiting, and leave unparsable answers at that.

        A generated answer has no company where only one image waits: it goes on waiting, see `AttackResult.waiting`.
        """
        due = []
        for row in self.open_rows:
            self._queue(row)
            entry = self._entries[row]
            if len(entry.waiting) >= (self._together if entry.witness is None else 1):
                due.append(row)
        self._check(due)
        for entry in self._entries:
            if entry.losses:
                broken = not entry.open or entry.witness is not None
                entry.attempts.append(Attempt(self._loss.name, tuple(entry.losses), broken))
                entry.losses = []
            if entry.witness is not None:
                entry.open = False
            entry.passes_until_check = 0

    def results(self) -> list[AttackResult]:
        """What was found out about each of the B questions."""
        return [self._result(row, entry) for row, entry in enumerate(self._entries)]

    def _loss_at(self, rows: list[int], tried: torch.Tensor) -> Loss:
        """The loss of some questions; of a model that gives answers alone, whether they are wrong."""
        completions = [self._entries[row].completion for row in rows]
        try:
            return loss_at(self._loss, self._select(rows), tried, completions)
        except NoScoresError:
            return loss_of_answers(self._select(rows), tried)

    def _select(self, rows: list[int]) -> BoundQuestions:
        if self._selected[0] != rows:
            self._selected = (rows, self._bound.select(rows))
        return self._selected[1]

    def _record(self, rows: list[int], tried: torch.Tensor, loss: Loss) -> None:
        due = []
        for row, image, (value, doubtful, flipped) in zip(rows, tried, loss.numbers(), strict=True):
            entry = self._entries[row]
            if self._watch is not None:
                self._watch(self._batch.questions[row], image, flipped)
            entry.forward_passes += 1
            entry.losses.append(value)
            entry.passes_until_check = max(0, entry.passes_until_check - 1)
            if entry.best is None or value > entry.best_value:
                entry.best, entry.best_value = image.clone(), value
            if doubtful and (entry.pending is None or value > entry.pending_value):
                entry.pending, entry.pending_value, entry.pending_flipped = image.clone(), value, flipped
            if entry.passes_until_check == 0:
                self._queue(row)
                if len(entry.waiting) >= self._together:
                    due.append(row)
            if entry.witness is not None:
                entry.grace -= 1
        self._check(due)
        for row in rows:
            if self._entries[row].grace <= 0:
                self._entries[row].open = False

    def _queue(self, row: int) -> None:
        """Let the pending image of a question, if it has one, wait for the deployed path; the same image only once."""
        entry = self._entries[row]
        if entry.pending is None:
            return
        image = self._round(row, entry.pending)
        entry.pending, entry.pending_value = None, float("-inf")
        if entry.queued is None or not np.array_equal(image, entry.queued):
            entry.queued = image
            entry.waiting.append(Waiting(image, len(entry.attempts), entry.pending_flipped))
            entry.passes_until_check = 0 if self._bound.generation is None else GENERATION_INTERVAL

    def _check(self, rows: Sequence[int]) -> None:
        """Put the waiting images of these questions to the deployed path; the first that breaks a question counts."""
        waiting = {row: self._entries[row].waiting for row in rows}
        said = deployed_answers(
            self._bound,
            {row: [one.image for one in images] for row, images in waiting.items()},
            unparsed={row for row in rows if self._entries[row].witness is not None},
        )
        for row, images in waiting.items():
            self._entries[row].checks += len(images)
            self._entries[row].waiting = []
            for one, answer in zip(images, said[row], strict=False):  # none is told after a wrong one
                self._take(row, one, answer)

    def _take(self, row: int, one: Waiting, answer: Answer) -> None:
        entry, right = self._entries[row], self._batch.questions[row].answer
        entry.passes_until_check = GENERATION_INTERVAL if answer.text else 0
        if answer.choice == right:
            entry.completion = answer.text
            entry.rounded_away |= one.flipped and not answer.text
            return
        if one.attempt < len(entry.attempts):  # it waited beyond the end of its run
            entry.attempts[one.attempt] = replace(entry.attempts[one.attempt], broken=True)
        if answer.choice is None:
            entry.witness = entry.witness or (one.image, answer)
        else:
            entry.witness, entry.open = (one.image, answer), False
            entry.best = None

    def _round(self, row: int, image: torch.Tensor) -> NDArray[np.uint8]:
        return self._budgets[row].round(self._batch.images[row], image.permute(1, 2, 0).cpu().numpy())

    def _result(self, row: int, entry: _Entry) -> AttackResult:
        if entry.witness is not None:
            image, answer = entry.witness
        else:
            image = self._batch.images[row] if entry.best is None else self._round(row, entry.best)
            answer = None
        return AttackResult(
            image=image,
            answer=answer,
            forward_passes=entry.forward_passes,
            backward_passes=entry.backward_passes,
            checks=entry.checks,
            rounded_away=entry.rounded_away and entry.witness is None,
            attempts=tuple(entry.attempts),
            waiting=() if answer is not None else tuple(entry.waiting),
        )


def _in_range(pixels: torch.Tensor) -> torch.Tensor:
    """A detached copy in [0, 1]: adding a clipped change back to the clean image may overshoot by a rounding."""
    return pixels.detach().clamp(0, 1)

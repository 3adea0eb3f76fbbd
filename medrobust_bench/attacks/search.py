"""The ledger of an adversarial search: best image so far, verified successes, cost; one entry per question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.attacks.attack_result import AttackResult, Attempt
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
    checked: NDArray[np.uint8] | None = field(default=None, repr=False)
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
        """End a run: check every image that is still waiting, and leave unparsable answers at that."""
        self._check([row for row in self.open_rows if self._entries[row].pending is not None])
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
            if entry.pending is not None and entry.passes_until_check == 0:
                due.append(row)
            if entry.witness is not None:
                entry.grace -= 1
        self._check(due)
        for row in rows:
            if self._entries[row].grace <= 0:
                self._entries[row].open = False

    def _check(self, rows: list[int]) -> None:
        """Put the pending images of these questions to the deployed path."""
        new: list[tuple[int, NDArray[np.uint8], bool]] = []
        for row in rows:
            entry = self._entries[row]
            assert entry.pending is not None
            image = self._round(row, entry.pending)
            flipped = entry.pending_flipped
            entry.pending, entry.pending_value = None, float("-inf")
            if entry.checked is None or not np.array_equal(image, entry.checked):
                entry.checked = image
                new.append((row, image, flipped))
        if not new:
            return
        answers = self._deployed_answers([(row, image) for row, image, _ in new])
        for (row, image, flipped), answer in zip(new, answers, strict=True):
            entry = self._entries[row]
            entry.checks += 1
            entry.passes_until_check = GENERATION_INTERVAL if answer.text else 0
            if answer.choice is None:
                entry.witness = entry.witness or (image, answer)
            elif answer.choice != self._batch.questions[row].answer:
                entry.witness, entry.open = (image, answer), False
                entry.best = None
            else:
                entry.completion = answer.text
                entry.rounded_away |= flipped and not answer.text

    def _deployed_answers(self, asked: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[Answer]:
        """The answers to images of these questions; those that claim a success are as exact as verdicts.

        Where answers are generated, a batch is a fraction of the cost of one at a time, and an answer that is right
        only steers the search. A question that is broken by an unparsable answer is broken anew by a wrong one only.
        """
        rows, images = [row for row, _ in asked], [image for _, image in asked]
        bound = self._bound.select(rows)
        if bound.generation is None:
            return bound.answer(images)
        answers = bound.answer(images, exact=False)
        claims = [
            place
            for place, (row, answer) in enumerate(zip(rows, answers, strict=True))
            if answer.choice != self._batch.questions[row].answer
            and not (answer.choice is None and self._entries[row].witness is not None)
        ]
        if claims:
            confirmed = bound.select(claims).answer([images[place] for place in claims])
            for place, answer in zip(claims, confirmed, strict=True):
                answers[place] = answer
        return answers

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
        )


def _in_range(pixels: torch.Tensor) -> torch.Tensor:
    """A detached copy in [0, 1]: adding a clipped change back to the clean image may overshoot by a rounding."""
    return pixels.detach().clamp(0, 1)

"""What an attack ascends: losses that work for two to five options, and for generated answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from medrobust_bench.models.adapter import Focus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs import gradient


class Height(NamedTuple):
    """How high B questions stand.

    Attributes:
        value: [B], differentiable in the pixels; the higher, the closer to a wrong answer.
        doubt: as in `ReferenceLoss`.
        left: as in `ReferenceLoss`.
    """

    value: torch.Tensor
    doubt: torch.Tensor
    left: torch.Tensor


class Objective(Protocol):
    """A loss of one run of an attack; made anew for every run."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def concerns(self, question: Question) -> bool:
        """Whether a question has anything to gain from it."""
        ...

    def height(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], said: Sequence[str]
    ) -> Height:
        """Evaluate.

        Args:
            bound: B questions.
            pixels: [B, 3, H, W] float in [0, 1].
            answers: B right options.
            said: B completions that the model wrote lately on images of the attack, "" for none.
        """
        ...


class CrossEntropy:
    """Negative log-likelihood of the right answer; of the whole clean completion, where one is generated."""

    name = "cross-entropy"

    def concerns(self, question: Question) -> bool:
        """Every question."""
        return True

    def height(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], said: Sequence[str]
    ) -> Height:
        """See `Objective`."""
        return Height(*bound.reference_loss(pixels, answers))


class Margin:
    """Lead of the strongest wrong option over the right one, in nats.

    Args:
        focus: where options are compared in a generated completion.
    """

    def __init__(self, focus: Focus) -> None:
        self._focus = focus

    @property
    def name(self) -> str:
        """With the focus."""
        return f"margin at {self._focus.value}"

    def concerns(self, question: Question) -> bool:
        """Every question."""
        return True

    def height(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], said: Sequence[str]
    ) -> Height:
        """See `Objective`."""
        rivals = bound.rival_leads(pixels, answers, focus=self._focus, said=said)
        return Height(rivals.leads.amax(1), rivals.doubt, rivals.left)


class Target:
    """Lead of one wrong option over the right one, in nats.

    The option is the one that has this rank among the wrong ones where the run starts, so that the first run
    goes for the most promising target, whatever the order of the options.

    Args:
        rank: 0 for the most likely wrong option.
        focus: where options are compared in a generated completion.
    """

    def __init__(self, rank: int, focus: Focus) -> None:
        self._rank = rank
        self._focus = focus
        self._options: dict[str, int] = {}

    @property
    def name(self) -> str:
        """With rank and focus."""
        return f"target {self._rank + 1} at {self._focus.value}"

    def concerns(self, question: Question) -> bool:
        """Questions with that many wrong options."""
        return self._rank < len(question.options) - 1

    def height(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], said: Sequence[str]
    ) -> Height:
        """See `Objective`."""
        rivals = bound.rival_leads(pixels, answers, focus=self._focus, said=said)
        ranked = rivals.leads.detach().argsort(dim=1, descending=True, stable=True)[:, self._rank].tolist()
        options = [
            self._options.setdefault(question.id, option)
            for question, option in zip(bound.questions, ranked, strict=True)
        ]
        index = torch.tensor(options, device=rivals.leads.device)
        return Height(rivals.leads.gather(1, index.unsqueeze(1)).squeeze(1), rivals.doubt, rivals.left)


def objectives(loss: gradient.Loss, focus: gradient.Focus, questions: Sequence[Question]) -> list[Objective]:
    """The objectives of one restart of an attack: one, or one per wrong option for a targeted loss.

    Args:
        loss: of the specification.
        focus: of the specification.
        questions: those that are attacked together.
    """
    where = Focus(focus)
    match loss:
        case "cross-entropy":
            return [CrossEntropy()]
        case "margin":
            return [Margin(where)]
        case "targeted":
            most = max(len(question.options) for question in questions)
            return [Target(rank, where) for rank in range(most - 1)]

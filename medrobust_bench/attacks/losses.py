"""What an attack ascends: losses that work for any number of options, and for generated answers.

They are computed from what a model gives: the scores of the options, or the logits of a completion that it is made to
repeat. Where a completion decides for an option is found by rewriting it for every other option: the first token at
which the two differ.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.averaged import AveragedQuestions, log_mean
from medrobust_bench.models.pixels import to_images
from medrobust_bench.models.scoring import lead_of_reference, token_log_likelihood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Batch, BoundQuestions, CompletionLogits, Generation
    from medrobust_bench.specs import gradient


class Focus(StrEnum):
    """Where in a generated completion options are compared; without meaning where options are scored.

    `WORDS`: the first token that would differ if the model had meant the other option: the answer in words where
    the rationale names it, else the letter.
    `LETTER`: the answer letter after the rationale that the model wrote on the clean image.
    `RESAMPLED`: the answer letter after the rationale that it last wrote on an image of the attack.
    """

    WORDS = "words"
    LETTER = "letter"
    RESAMPLED = "resampled"


class Loss(NamedTuple):
    """The loss of B questions at B images.

    Attributes:
        value: [B], differentiable in the pixels; the higher, the closer to a wrong answer.
        may_have_flipped: [B] bool: False only where the deployed answer is certainly still the right one, up to the
            batch's tolerance.
        has_flipped: [B] bool: True where the differentiable path has left the right answer (where completions are
            generated: where it would write another one).
    """

    value: torch.Tensor
    may_have_flipped: torch.Tensor
    has_flipped: torch.Tensor

    def numbers(self) -> list[tuple[float, bool, bool]]:
        """All three of each question, fetched at once: for every fetch the CPU waits until a GPU is done."""
        value = self.value.detach()
        fetched = torch.stack([value, self.may_have_flipped.to(value), self.has_flipped.to(value)]).tolist()
        return [(loss, bool(may), bool(has)) for loss, may, has in zip(*fetched, strict=True)]


class AttackLoss(Protocol):
    """A loss of one run of an attack; made anew for every run."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def is_likelihood(self) -> bool:
        """Whether it is a negative logarithm of a probability."""
        ...

    def applies_to(self, question: Question) -> bool:
        """Whether a question has anything to gain from it."""
        ...

    def of_scores(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Its value [B] where options have scores [B, K]."""
        ...

    def of_completions(
        self, generation: Generation, batch: Batch, pixels: torch.Tensor, completions: Sequence[str]
    ) -> tuple[torch.Tensor, CompletionLogits]:
        """Its value [B] where answers are written, and the logits that it is made of.

        Args:
            generation: of the bound questions.
            batch: of the bound questions.
            pixels: [B, 3, H, W] float in [0, 1].
            completions: B completions that the model wrote lately on images of the attack, "" for none.
        """
        ...


def loss_at(
    loss: AttackLoss, bound: BoundQuestions, pixels: torch.Tensor, completions: Sequence[str]
) -> Loss:
    """The loss of bound questions at images [B, 3, H, W] in [0, 1]; for `completions` see `AttackLoss`."""
    if isinstance(bound, AveragedQuestions):
        return _average(loss, bound, pixels, completions)
    batch = bound.batch
    if bound.generation is None:
        scores = bound.scores(pixels)
        value = loss.of_scores(scores, batch)
        lead = lead_of_reference(scores.detach(), _right(scores, batch))
    else:
        value, scored = loss.of_completions(bound.generation, batch, pixels, completions)
        leads = lead_of_reference(scored.logits.detach(), scored.tokens)
        lead = leads.masked_fill(~scored.real, torch.inf).amin(-1)
    return Loss(value, ~(lead >= batch.tolerance), lead < 0)  # what is not a number may be anything


def loss_of_answers(bound: BoundQuestions, pixels: torch.Tensor) -> Loss:
    """The loss of a model that gives answers and no scores: 1 where the answer is wrong, else 0.

    Args:
        bound: B questions.
        pixels: [B, 3, H, W] float in [0, 1]; asked about rounded to 8 bits.
    """
    answers = bound.answer(to_images(pixels))
    wrong = torch.tensor(
        [answer.choice != right for answer, right in zip(answers, bound.batch.answers, strict=True)],
        device=pixels.device,
    )
    return Loss(wrong.to(pixels), wrong, wrong)


def _average(
    loss: AttackLoss, bound: AveragedQuestions, pixels: torch.Tensor, completions: Sequence[str]
) -> Loss:
    """The loss of a model that answers for many passes.

    A smoothed answer may have flipped, and counts as flipped, as soon as it has in any pass: another answer becomes the
    most frequent one long before it becomes the only one. The verdict on a randomised model is that of most passes.
    """
    passes = bound.passes(pixels)
    over_probabilities = bound.averaging.over_probabilities
    if over_probabilities and bound.generation is None:
        each = [bound.base.scores(given) for given in passes]
        value = loss.of_scores(bound.mean_scores(each), bound.batch)
        right = _right(value, bound.batch)
        flipped = torch.stack([lead_of_reference(scores.detach(), right) < 0 for scores in each]).any(0)
        return Loss(value, flipped, flipped)
    every = [loss_at(loss, bound.base, given, completions) for given in passes]
    values, doubts, flips = (torch.stack(column) for column in zip(*every, strict=True))
    mean = -log_mean(-values) if over_probabilities and loss.is_likelihood else values.mean(0)
    return Loss(mean, doubts.any(0), flips.any(0) if over_probabilities else flips.float().mean(0) > 0.5)


class CrossEntropy:
    """Negative log-likelihood of the right answer; of the whole clean completion, where one is generated."""

    name = "cross-entropy"
    is_likelihood = True

    def applies_to(self, question: Question) -> bool:
        """Every question."""
        return True

    def of_scores(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """See `AttackLoss`."""
        return cross_entropy(scores, _right(scores, batch), reduction="none")

    def of_completions(
        self, generation: Generation, batch: Batch, pixels: torch.Tensor, completions: Sequence[str]
    ) -> tuple[torch.Tensor, CompletionLogits]:
        """See `AttackLoss`."""
        scored = generation.logits(pixels, generation.clean())
        return completion_loss(scored, scored.real), scored


class Margin:
    """Lead of the strongest wrong option over the right one, in nats.

    Args:
        focus: where options are compared in a generated completion.
    """

    is_likelihood = False

    def __init__(self, focus: Focus) -> None:
        self._focus = focus
        self._differences: dict[tuple[str, tuple[int, ...]], dict[int, Divergence]] = {}

    @property
    def name(self) -> str:
        """With the focus."""
        return f"margin at {self._focus.value}"

    def applies_to(self, question: Question) -> bool:
        """Every question."""
        return True

    def of_scores(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """See `AttackLoss`."""
        return self.of_margins(option_margins(scores, batch), batch)

    def of_completions(
        self, generation: Generation, batch: Batch, pixels: torch.Tensor, completions: Sequence[str]
    ) -> tuple[torch.Tensor, CompletionLogits]:
        """See `AttackLoss`."""
        written = generation.clean()
        if self._focus is Focus.RESAMPLED:
            written = [
                generation.tokens(row, text) if text else tokens
                for row, (text, tokens) in enumerate(zip(completions, written, strict=True))
            ]
        scored = generation.logits(pixels, written)
        margins = []
        for row, question in enumerate(batch.questions):
            logits = scored.logits[row]
            own = [logits.new_full((), -torch.inf)] * len(question.options)
            for option, place in self._differ(generation, row, question, written[row]).items():
                own[option] = logits[place.position, place.other] - logits[place.position, place.own]
            margins.append(torch.stack(own))
        padded = pad_sequence(margins, batch_first=True, padding_value=-torch.inf)
        return self.of_margins(padded, batch), scored

    def of_margins(self, margins: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The value [B] of leads [B, K] over the right option, which has none: -inf."""
        return margins.amax(1)

    def _differ(
        self, generation: Generation, row: int, question: Question, tokens: list[int]
    ) -> dict[int, Divergence]:
        """By wrong option, where a completion that means it differs from this one."""
        key = question.id, tuple(tokens)
        if key not in self._differences:
            text, words = generation.text(row, tokens), self._focus is Focus.WORDS
            found = {}
            for option in set(range(len(question.options))) - {question.answer}:
                other = generation.rewrite(row, text, option, words=words)
                if difference := first_difference(tokens, generation.tokens(row, other)):
                    found[option] = difference
            self._differences[key] = found
        return self._differences[key]


class Targeted(Margin):
    """Lead of one wrong option over the right one, in nats.

    The option is the one that has this rank among the wrong ones where the run starts, so that the first run
    goes for the most promising target, whatever the order of the options.

    Args:
        rank: 0 for the most likely wrong option.
        focus: where options are compared in a generated completion.
    """

    def __init__(self, rank: int, focus: Focus) -> None:
        super().__init__(focus)
        self._rank = rank
        self._targets: dict[str, int] = {}

    @property
    def name(self) -> str:
        """With rank and focus."""
        return f"target {self._rank + 1} at {self._focus.value}"

    def applies_to(self, question: Question) -> bool:
        """Questions with that many wrong options."""
        return self._rank < len(question.options) - 1

    def of_margins(self, margins: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The lead of the target."""
        ranked = margins.detach().argsort(dim=1, descending=True, stable=True)[:, self._rank].tolist()
        targets = [
            self._targets.setdefault(question.id, option)
            for question, option in zip(batch.questions, ranked, strict=True)
        ]
        index = torch.tensor(targets, device=margins.device)
        return margins.gather(1, index.unsqueeze(1)).squeeze(1)


class Divergence(NamedTuple):
    """The first token at which two completions differ.

    Attributes:
        position: how many tokens they share.
        own: the token that was written.
        other: the token that the other completion has there.
    """

    position: int
    own: int
    other: int


def first_difference(own: Sequence[int], other: Sequence[int]) -> Divergence | None:
    """Where two token sequences differ first; None where one continues the other."""
    for position, tokens in enumerate(zip(own, other, strict=False)):
        if tokens[0] != tokens[1]:
            return Divergence(position, *tokens)
    return None


def option_margins(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Lead [B, K] of every option over the right one, given scores [B, K]; -inf at the right and at missing ones."""
    right = _right(scores, batch).unsqueeze(1)
    return (scores - scores.gather(1, right)).scatter(1, right, -torch.inf)


def completion_loss(scored: CompletionLogits, counted: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood [B] in nats of the completions' tokens that count, [B, N] bool."""
    return -token_log_likelihood(scored.logits, scored.tokens).masked_fill(~counted, 0.0).sum(-1)


def attack_losses(
    loss: gradient.Loss, focus: gradient.Focus, questions: Sequence[Question]
) -> list[AttackLoss]:
    """The losses of one restart of an attack: one, or one per wrong option for a targeted loss.

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
            return [Targeted(rank, where) for rank in range(most - 1)]


def _right(like: torch.Tensor, batch: Batch) -> torch.Tensor:
    return batch.right.to(like.device)

"""Rewards of a rollout: plain functions of the completion, its question, and what the model says on the clean image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answers.registry import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.train.rl_settings import RewardWeights

_RATIONALE = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_VERDICT = re.compile(rf"\b([{LETTERS[0]}-{LETTERS[-1]}])\)[^:]*:\s*(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion.

    Attributes:
        completion: what the model wrote, including what its chat template began for it.
        question: what it was asked.
        mode: how it should answer.
        clean_choice: its greedy answer on the clean image; None where it was not asked or gave none.
        counterpart_choice: its greedy answer to the same question about an image with another right answer.
        paired: whether there is such an image, and it was asked about it.
    """

    completion: str
    question: Question
    mode: AnswerMode
    clean_choice: int | None = None
    counterpart_choice: int | None = None
    paired: bool = False

    @property
    def choice(self) -> int | None:
        """Index of the option that it names; None unless it keeps to the format to the letter."""
        return STRATEGIES[self.mode].read(self.completion, self.question.options).choice


def correctness(rollout: Rollout) -> float:
    """1 for the right option, else 0; an answer that cannot be parsed is wrong."""
    return float(rollout.choice == rollout.question.answer)


def strict_format(rollout: Rollout) -> float:
    """1 for exactly one rationale and one valid letter (a letter model: nothing but the letter), else 0."""
    return float(rollout.choice is not None)


def consistency(rollout: Rollout) -> float:
    """1 where the rationale affirms the option that the answer names, else 0.

    It rewards neither a right nor an informative rationale; alone it would be satisfied by any option.
    """
    choice = rollout.choice
    return float(choice is not None and stated_option(rollout) == choice)


def agreement(rollout: Rollout) -> float | None:
    """1 for the answer given on the clean image, else 0; None (no reward at all) where there is none to agree with."""
    return None if rollout.clean_choice is None else float(rollout.choice == rollout.clean_choice)


def dependence(rollout: Rollout) -> float | None:
    """1 for the right option if the model answers otherwise about the counterpart, else 0; None without a counterpart.

    The counterpart is a stranger's image, for which another option of the same question is right (`Exchange`): nothing
    about it is unusual. Whoever answers by heart gives one answer to both and earns nothing on either; whoever answers
    at random is right now and then, and earns less than by `correctness` alone.
    """
    if not rollout.paired:
        return None
    return float(rollout.choice == rollout.question.answer != rollout.counterpart_choice)


def stated_option(rollout: Rollout) -> int | None:
    """The option that the rationale settles on; None where it names none, or several.

    Where it goes through the options ("A) cyst: no. B) edema: yes."), the one with yes; otherwise the only one
    whose words it contains, longer options before those that are a part of them.
    """
    rationale = _RATIONALE.search(rollout.completion)
    if rationale is None:
        return None
    text = rationale[1]
    verdicts = _VERDICT.findall(text)
    if verdicts:
        affirmed = {letter.upper() for letter, verdict in verdicts if verdict.lower() == "yes"}
        found = {LETTERS.index(letter) for letter in affirmed}
    else:
        found = set()
        for index, option in sorted(enumerate(rollout.question.options), key=lambda item: -len(item[1])):
            text, times = re.subn(rf"(?<!\w){re.escape(option)}(?!\w)", " ", text, flags=re.IGNORECASE)
            if times:
                found.add(index)
    return found.pop() if len(found) == 1 else None


class TrlReward:
    """A reward as TRL calls it: on whole columns of a generation batch.

    Args:
        reward: of one rollout.
        mode: of the model.
    """

    def __init__(self, reward: Callable[[Rollout], float | None], mode: AnswerMode) -> None:
        self._reward = reward
        self._mode = mode
        self.__name__ = reward.__name__

    def __call__(
        self,
        *,
        completions: Sequence[Sequence[dict[str, Any]]],
        question: Sequence[Question],
        opening: Sequence[str],
        clean_choice: Sequence[int | None],
        counterpart_choice: Sequence[int | None],
        paired: Sequence[bool],
        **columns: object,
    ) -> list[float | None]:
        """Rewards of N completions.

        Args:
            completions: N conversations, each the assistant's turn.
            question: N questions.
            opening: what the chat template begins the assistant's turn with, N times.
            clean_choice: N greedy answers on the clean image.
            counterpart_choice: N greedy answers about an image with another right answer.
            paired: whether there was one, N times.
            columns: what else TRL hands over.
        """
        rows = zip(completions, question, opening, clean_choice, counterpart_choice, paired, strict=True)
        return [
            self._reward(Rollout(opening + turn[0]["content"], asked, self._mode, clean, other, pair))
            for turn, asked, opening, clean, other, pair in rows
        ]


def weighted_rewards(weights: RewardWeights, mode: AnswerMode) -> tuple[list[TrlReward], list[float]]:
    """The rewards in use and their weights; correctness and format come first and always, if only to be logged."""
    everything = {
        correctness: weights.correctness,
        strict_format: weights.strict_format,
        consistency: weights.consistency,
        agreement: weights.agreement,
        dependence: weights.dependence,
    }
    used = {
        reward: weight
        for reward, weight in everything.items()
        if weight or reward in (correctness, strict_format)
    }
    return [TrlReward(reward, mode) for reward in used], list(used.values())

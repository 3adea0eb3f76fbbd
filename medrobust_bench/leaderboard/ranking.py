"""Boards of results that can be compared, and ranks that a paired test stands behind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.checks.identity import family
from medrobust_bench.leaderboard.checks.threat import normal_text
from medrobust_bench.leaderboard.evidence import read_answers, read_beside
from medrobust_bench.leaderboard.standing import why_unranked
from medrobust_bench.reports.paired import exchange_p_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.leaderboard.answers import Answers
    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import CertifiedEstimate, Estimate, Result, Scores

SIGNIFICANT = 0.05
"""Chance that a board of equally good models tells any two of them apart, at most."""

RANKS = (
    "A rank is one more than the number of families of models that have a better one; models of one submitter, or of "
    "the same weights, are a family. Better is what a paired test tells apart (exact McNemar; where a question has "
    "several corrupted images, the same with shares of right answers), at a level at which a whole board of equally "
    "good models stays together in at least 95 % of cases; models that it does not tell apart share a rank. Behind it: "
    "the ranks that the test leaves possible. “–”: accepted, but not on official questions under an official threat, "
    "with a pinned model and an audit that leaves no doubt."
)
"""What the column of ranks means."""


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank among families.

    Attributes:
        first: one more than the number of families with a better model.
        last: one more than the number of families with a model that is better or not told apart.
    """

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} ({self.first}–{self.last})"


@dataclass(frozen=True, slots=True)
class Standing:
    """A submission on a board.

    Attributes:
        submission: what is ranked.
        rank: None where it is shown without one.
    """

    submission: Submission
    rank: Rank | None


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model that takes part in the ranking of a board.

    Attributes:
        family: equal for models that count once.
        answers: its answers by question.
        unsteady: how many of its own answers change when an image is judged twice.
    """

    family: str
    answers: Answers
    unsteady: int = 0

    @property
    def right(self) -> float:
        """How many of its answers count as right, shares added up."""
        return sum(answer.right for answer in self.answers.values())


Board = tuple[Standing, ...]
"""Submissions on the same questions under the same specification: the ranked first, best first."""


def boards(submissions: Sequence[Submission], *, cards: Mapping[str, Card]) -> list[Board]:
    """Submissions put together with those that they can be compared with, by data set and threat.

    The order of the submissions does not matter.

    Args:
        submissions: with threats in normal form.
        cards: the model registry.
    """
    groups: dict[tuple[str, ...], list[Submission]] = {}
    for submission in submissions:
        data, threat = submission.result.data, submission.result.threat
        key = (data.name, threat.name, data.split, data.digest, normal_text(threat))
        groups.setdefault(key, []).append(submission)
    return [_board(group, cards) for _key, group in sorted(groups.items(), key=lambda item: item[0])]


def _board(group: Sequence[Submission], cards: Mapping[str, Card]) -> Board:
    ordered = sorted(group, key=lambda submission: order(submission.result))
    contestants = [_contestant(one, cards) for one in ordered]
    taking_part = [one for one in contestants if one is not None]
    found = iter(ranks(taking_part))
    standings = [
        Standing(one, None if contestant is None else next(found))
        for one, contestant in zip(ordered, contestants, strict=True)
    ]
    return tuple(sorted(standings, key=lambda standing: standing.rank is None))


def _contestant(submission: Submission, cards: Mapping[str, Card]) -> Contestant | None:
    """A submission that takes part; None for a bare result and for what cannot be ranked."""
    entry = submission.entry
    if entry is None:
        return None
    answers = read_answers(submission.path, entry)
    proof = read_beside(submission.path, entry)
    if answers is None or why_unranked(submission.path, entry, proof, cards):
        return None
    model, metrics = entry.result.model, entry.result.metrics
    unsteady = round(metrics.nondeterminism * entry.result.data.n)
    return Contestant(family(model.id, model.weights_sha256, cards), answers, unsteady)


def headline(scores: Scores) -> Estimate:
    """What models are ordered by: robust or mean corruption accuracy, certified at the smallest radius, else clean."""
    for estimate in (scores.robust_accuracy, scores.corrupted_accuracy):
        if estimate is not None:
            return estimate
    return next(iter(certified(scores)), scores.clean_accuracy)


def certified(scores: Scores) -> list[CertifiedEstimate]:
    """Certified accuracies by ascending radius."""
    return sorted(scores.certified_accuracy, key=lambda estimate: estimate.radius)


def order(result: Result) -> tuple[float, float, str, str, str, int]:
    """Sorts results of one board, best first."""
    scores, model = result.metrics, result.model
    values = -headline(scores).value, -scores.clean_accuracy.value
    return (*values, model.id, model.answer_mode, model.dtype + (model.weights_sha256 or ""), result.seed)


def ranks(contestants: Sequence[Contestant]) -> list[Rank]:
    """The rank of each.

    One is better than another if it has more right answers, by more than the number of its own that change when the
    same image is judged twice (an unsteady model cannot lift itself by that), and the exact paired test rejects that
    both are equally good at the level of their pair. The level of a board, 5 %, is divided by the number of pairs of
    families (each with itself among them), and that of a pair of families by the number of pairs of their models
    (Bonferroni): the chance that equally good models are told apart anywhere on the board stays below 5 %; and what a
    family enters changes nothing between two others.

    Args:
        contestants: on the same questions under the same threat.
    """
    sizes = Counter(one.family for one in contestants)
    pairs = len(sizes) * (len(sizes) + 1) // 2  # a family and itself is one
    ahead: list[set[str]] = [set() for _ in contestants]
    level_with: list[set[str]] = [set() for _ in contestants]
    for one, other in combinations(range(len(contestants)), 2):
        first, second = contestants[one], contestants[other]
        within = first.family == second.family
        size = sizes[first.family] * (sizes[second.family] - within) / (2 if within else 1)
        winner = _winner(first, second, SIGNIFICANT / pairs / size)
        if winner is not None:
            upper, lower = (first, other) if winner is first else (second, one)
            ahead[lower].add(upper.family)
        elif not within:
            level_with[one].add(second.family)
            level_with[other].add(first.family)
    return [
        Rank(1 + len(better), 1 + len(better | level))
        for better, level in zip(ahead, level_with, strict=True)
    ]


def _winner(one: Contestant, other: Contestant, level: float) -> Contestant | None:
    """Which of two is better; None where the test does not tell, or they were not asked the same questions."""
    first, second = (one, other) if one.right >= other.right else (other, one)
    if first.right - second.right <= first.unsteady or first.answers.keys() != second.answers.keys():
        return None
    differences = [
        answer.right - second.answers[question].right for question, answer in first.answers.items()
    ]
    images = [answer.image for answer in first.answers.values()]
    return first if exchange_p_value(differences, images) <= level else None

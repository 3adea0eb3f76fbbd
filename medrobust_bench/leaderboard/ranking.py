"""Boards of results that can be compared, and ranks that a paired test stands behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from scipy.stats import fisher_exact

from medrobust_bench.leaderboard.evidence import read_beside
from medrobust_bench.leaderboard.submissions import measurement
from medrobust_bench.leaderboard.verification import unranked
from medrobust_bench.reports.paired import Paired, exact_p_value
from medrobust_bench.reports.summary import is_certified

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.records import CertifiedEstimate, Estimate, Result, Scores

Answers = dict[str, tuple[bool, str]]
"""By question: whether the answer that ranks is right, and the digest of the image that it is about."""

SIGNIFICANT = 0.05

RANKS = (
    "A rank is one more than the number of models that are better by a paired test (exact McNemar, 5 %; Fisher's "
    "exact test where the answers to each question are not at hand): models that it does not tell apart share it. "
    "“–”: accepted, but not on official questions under an official threat with an audit that leaves no doubt."
)
"""What the column of ranks means."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A submission on a board.

    Attributes:
        submission: what is ranked.
        rank: from 1; None where it is shown without one.
    """

    submission: Submission
    rank: int | None


Board = tuple[Standing, ...]
"""Submissions on the same questions under the same specification, best first."""


def boards(submissions: Sequence[Submission]) -> list[Board]:
    """Submissions put together with those that they can be compared with, by data set and threat.

    The order of the submissions does not matter.
    """
    groups: dict[tuple[str, ...], list[Submission]] = {}
    for submission in submissions:
        data, threat = submission.result.data, submission.result.threat
        specification = json.dumps(threat.model_dump(mode="json"), sort_keys=True)
        key = (data.name, threat.name, data.split, data.digest, specification)
        groups.setdefault(key, []).append(submission)
    answers = read_answers(submissions)
    return [_board(group, answers) for _key, group in sorted(groups.items(), key=lambda item: item[0])]


def _board(group: Sequence[Submission], answers: Mapping[Hashable, Answers]) -> Board:
    ordered = sorted(group, key=lambda submission: order(submission.result))
    takes_part = [one.entry is None or not unranked(one.entry) for one in ordered]
    found = iter(
        ranks([one.result for one, ranked in zip(ordered, takes_part, strict=True) if ranked], answers)
    )
    return tuple(
        Standing(one, next(found) if ranked else None)
        for one, ranked in zip(ordered, takes_part, strict=True)
    )


def headline(scores: Scores) -> Estimate:
    """What models are ranked by: robust accuracy, else certified at the smallest radius, else clean."""
    if scores.robust_accuracy is not None:
        return scores.robust_accuracy
    return next(iter(certified(scores)), scores.clean_accuracy)


def certified(scores: Scores) -> list[CertifiedEstimate]:
    """Certified accuracies by ascending radius."""
    return sorted(scores.certified_accuracy, key=lambda estimate: estimate.radius)


def order(result: Result) -> tuple[float, float, str, str, str, int]:
    """Sorts results of one board, best first."""
    scores, model = result.metrics, result.model
    values = -headline(scores).value, -scores.clean_accuracy.value
    return (*values, model.id, model.answer_mode, model.dtype + model.weights_sha256, result.seed)


def read_answers(submissions: Sequence[Submission]) -> dict[Hashable, Answers]:
    """The answers of every submission whose journal stands beside it, by measurement."""
    found: dict[Hashable, Answers] = {}
    for submission in submissions:
        entry = submission.entry
        proof = None if entry is None else read_beside(submission.path, entry)
        if entry is not None and proof is not None:
            radii = entry.result.threat.model_dump().get("radii", ["0"])
            radius = float(Fraction(str(radii[0])))
            is_right = {
                o.question: is_certified(o, radius) if o.certificate is not None else o.correct
                for o in proof.threat
            }
            found[measurement(entry.result)] = {
                o.question: (is_right[o.question], o.image_sha256) for o in proof.threat
            }
    return found


def ranks(results: Sequence[Result], answers: Mapping[Hashable, Answers]) -> list[int]:
    """One more than the number of results that are better, for each.

    A result is better than another if its accuracy is higher by more than the share of its own answers that change when
    the same image is judged twice (an unsteady model cannot lift itself by that), and a test tells them apart: the
    exact paired one where the answers of both are at hand, else Fisher's, which sees only how many are right.

    Args:
        results: on the same questions under the same threat.
        answers: by measurement, as far as they are at hand.
    """
    return [1 + sum(_better(other, result, answers) for other in results) for result in results]


def _better(one: Result, other: Result, answers: Mapping[Hashable, Answers]) -> bool:
    right, others = (
        round(estimate.value * estimate.n) for estimate in map(headline, (one.metrics, other.metrics))
    )
    if right - others <= round(one.metrics.nondeterminism * one.data.n):
        return False
    first, second = answers.get(measurement(one)), answers.get(measurement(other))
    if first is None or second is None or first.keys() != second.keys():
        counts = [(round(e.value * e.n), e.n) for e in map(headline, (one.metrics, other.metrics))]
        p_value = fisher_exact([(right, n - right) for right, n in counts]).pvalue
        return bool(p_value <= SIGNIFICANT)
    pairs = Paired.of(
        [second[question][0] for question in first],
        [right for right, _image in first.values()],
        [image for _right, image in first.values()],
    )
    return exact_p_value(pairs) <= SIGNIFICANT

"""Ranks that a paired test stands behind."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.evidence import read_proof
from medrobust_bench.leaderboard.submissions import measurement
from medrobust_bench.results.paired import Paired, exact_p_value
from medrobust_bench.results.summary import is_certified

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.results.schema import CertifiedEstimate, Estimate, Result, Scores

Answers = dict[str, tuple[bool, str]]
"""By question: whether the answer that ranks is right, and the digest of the image that it is about."""

SIGNIFICANT = 0.05


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
    """The answers of every submission whose evidence stands beside it, by measurement."""
    found: dict[Hashable, Answers] = {}
    for submission in submissions:
        entry = submission.entry
        if entry is None or any(file.hub is not None for file in entry.evidence):
            continue
        proof, _faults = read_proof(submission.path, entry)
        if proof is not None:
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


def ranks(board: Sequence[Result], answers: Mapping[Hashable, Answers]) -> list[int]:
    """One more than the number of results that are better, for each.

    A result is better than another if its accuracy is higher by more than the share of answers that change when
    the same image is judged twice, and, where the answers of both are at hand, the exact paired test tells them
    apart.

    Args:
        board: results on the same questions under the same threat.
        answers: by measurement, as far as they are at hand.
    """
    return [1 + sum(_better(other, result, answers) for other in board) for result in board]


def _better(one: Result, other: Result, answers: Mapping[Hashable, Answers]) -> bool:
    ahead = headline(one.metrics).value - headline(other.metrics).value
    if ahead <= max(one.metrics.nondeterminism, other.metrics.nondeterminism):
        return False
    first, second = answers.get(measurement(one)), answers.get(measurement(other))
    if first is None or second is None or first.keys() != second.keys():
        return True
    pairs = Paired.of(
        [second[question][0] for question in first],
        [right for right, _image in first.values()],
        [image for _right, image in first.values()],
    )
    return exact_p_value(pairs) <= SIGNIFICANT

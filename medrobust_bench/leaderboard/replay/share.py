"""How many claims of each kind are done again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.replay.kinds import Repeater

LARGEST = 0.6
"""Share of the effort that goes to what ranks."""

PACED = 4
"""Clean answers by which this machine is compared with the submitter's."""


def by_count(claims: Mapping[str, int], ranking: Sequence[str], count: int) -> dict[str, int]:
    """Claims to repeat, by kind: the largest share of what ranks, the rest in equal parts, all where there are fewer.

    Args:
        claims: how many there are of each kind.
        ranking: kinds that ranks rest on.
        count: claims altogether.
    """
    return _filled(claims, ranking, dict.fromkeys(claims, 1.0), float(count))


def by_minutes(
    claims: Mapping[str, int], ranking: Sequence[str], seconds: Mapping[str, float], budget: float
) -> dict[str, int]:
    """As `by_count`, but for a time.

    Args:
        claims: how many there are of each kind.
        ranking: kinds that ranks rest on.
        seconds: what one claim of each kind takes.
        budget: seconds altogether.
    """
    return _filled(claims, ranking, {name: max(1e-3, cost) for name, cost in seconds.items()}, budget)


def pace(repeater: Repeater, case: Case) -> float:
    """How many times longer this machine takes for a clean answer than the submitter's."""
    questions = list(case.clean)[:PACED]
    repeater.answer(questions[0], case.images[questions[0]])  # the first one warms up
    start = time.perf_counter()
    for question in questions:
        repeater.answer(question, case.images[question])
    mine = (time.perf_counter() - start) / len(questions)
    answers = sum(2 + len(outcome.blind_choices or {}) for outcome in case.proof.clean)
    theirs = sum(outcome.seconds for outcome in case.proof.clean) / answers
    return mine / theirs if theirs > 0 else 1.0


def _filled(
    claims: Mapping[str, int], ranking: Sequence[str], costs: Mapping[str, float], budget: float
) -> dict[str, int]:
    """Spend a budget: what one kind does not need goes to the others."""
    kinds = [name for name, number in claims.items() if number]
    first = [name for name in kinds if name in ranking]
    others = [name for name in kinds if name not in ranking]
    weights = dict.fromkeys(others, (1 - LARGEST if first else 1.0) / max(1, len(others)))
    weights |= dict.fromkeys(first, (LARGEST if others else 1.0) / max(1, len(first)))
    taken = dict.fromkeys(claims, 0)
    left, open_kinds = budget, set(kinds)
    while open_kinds:
        total = sum(weights[name] for name in open_kinds)
        full = {name for name in open_kinds if left * weights[name] / total >= claims[name] * costs[name]}
        if not full:
            for name in sorted(open_kinds):
                taken[name] = max(1, int(left * weights[name] / total / costs[name] + 1e-9))
            break
        for name in full:
            taken[name] = claims[name]
            left -= claims[name] * costs[name]
        open_kinds -= full
    return taken

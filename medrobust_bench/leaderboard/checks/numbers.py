"""The numbers of a submission, computed again from its journal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import SHOWN, Fault
from medrobust_bench.leaderboard.answers import counted, to_csv
from medrobust_bench.leaderboard.entry import ANSWERS
from medrobust_bench.reports.summary import summarise
from medrobust_bench.runs.audit.blindness import dependent_answers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medrobust_bench.leaderboard.case import Case


def recomputed(case: Case) -> list[Fault]:
    """Where the result differs from what its own journal gives, path by path."""
    result = case.entry.result
    again = summarise(
        [case.threat[question] for question in case.questions],
        model=result.model,
        data=result.data,
        threat=result.threat,
        seed=result.seed,
        environment=result.environment,
        dependent=None if case.first_version else dependent_answers(case.clean.values(), case.sampled),
    )
    submitted = json.loads(result.model_dump_json(include={"metrics", "cost"}))
    made_again = json.loads(again.model_dump_json(include={"metrics", "cost"}))
    return [
        Fault("numbers", f"{path} is {given}, its journal gives {made}")
        for path, given, made in list(_differing(submitted, made_again))[: 2 * SHOWN]
    ]


def answers(case: Case) -> list[Fault]:
    """What ranks are computed from is what the journal gives, wherever the journal lies."""
    given = case.proof.answers
    if given is None or given == to_csv(counted(case.proof.threat, case.entry.result.threat)):
        return []
    return [Fault("numbers", f"{ANSWERS} is not what the journal gives")]


def _differing(given: object, made: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    if isinstance(given, dict) and isinstance(made, dict):
        for key in dict.fromkeys((*given, *made)):
            yield from _differing(given.get(key), made.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        for index, (left, right) in enumerate(zip(given, made, strict=True)):
            yield from _differing(left, right, f"{path}[{index}]")
    elif isinstance(given, float) and isinstance(made, int | float):
        if abs(given - made) > 1e-9:  # another platform's libm
            yield path, given, made
    elif given != made:
        yield path, given, made

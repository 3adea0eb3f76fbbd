"""What becomes of right answers under attack: from which option to which, and what that means for a patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.data.clinical import Direction, direction, meaning
from medrobust_bench.data.question import LETTERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Outcome

UNPARSED = "unparsed"


@dataclass(frozen=True, slots=True)
class Flips:
    """Answers under one threat, of the questions that were answered right on the clean image.

    Attributes:
        model: who answers.
        threat: name of the threat.
        columns: letters of the options, then `UNPARSED` where it occurred.
        rows: per right letter, how often each column was answered under attack.
        directed: per clinical direction, (wrong answers of that kind, questions in which it could happen); empty
            where the questions are not at hand.
    """

    model: str
    threat: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    directed: Mapping[Direction, tuple[int, int]]


def flips(
    model: str, threat: str, outcomes: Sequence[Outcome], questions: Mapping[str, Question] | None
) -> Flips | None:
    """Count the flips; None where nothing was attacked.

    Args:
        model: its name.
        threat: its name.
        outcomes: of this model under this threat.
        questions: by id; None where they are not at hand.
    """
    attacked = [outcome for outcome in outcomes if outcome.attacked]
    if not attacked:
        return None
    counts = Counter((outcome.answer, outcome.choice) for outcome in attacked)
    options = range(1 + max(max(answer, choice or 0) for answer, choice in counts))
    columns: list[int | None] = list(options)
    if any(choice is None for _answer, choice in counts):
        columns.append(None)
    return Flips(
        model=model,
        threat=threat,
        columns=tuple(UNPARSED if column is None else LETTERS[column] for column in columns),
        rows=tuple(
            (LETTERS[answer], tuple(counts[answer, column] for column in columns)) for answer in options
        ),
        directed={} if questions is None else _directed(attacked, questions),
    )


def outcome_direction(outcome: Outcome, question: Question) -> Direction | None:
    """How a wrong answer errs clinically; None where it does not, or is unparsable."""
    return None if outcome.choice is None else direction(question, outcome.choice)


def _directed(
    attacked: Sequence[Outcome], questions: Mapping[str, Question]
) -> dict[Direction, tuple[int, int]]:
    happened: Counter[Direction] = Counter()
    possible: Counter[Direction] = Counter()
    for outcome in attacked:
        question = questions[outcome.question]
        if meaning(question, question.answer) is None:
            continue
        reachable = {direction(question, option) for option in range(len(question.options))}
        possible.update(found for found in reachable if found is not None)
        done = outcome_direction(outcome, question)
        if done is not None:
            happened[done] += 1
    return {found: (happened[found], possible[found]) for found in Direction if possible[found]}

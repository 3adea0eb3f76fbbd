"""One bad question costs one question: finding out which one it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from medrobust_bench.models.endpoint.client import EndpointError
from medrobust_bench.models.memory import is_out_of_memory, release_memory
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.runs.judge import BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

OF_A_QUESTION = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What image files, processors, tokenizers and models raise about a question that they cannot take; a
`QuestionError` is a ValueError, and memory that ends at a batch of one a RuntimeError."""

OF_THE_RUN = (InvalidInputError, BudgetExceededError, EndpointError)
"""Faults of the same types that are no question's: of the input, of an attack, of a server that is gone."""


def separately(
    work: Callable[[Sequence[int]], T], rows: Sequence[int]
) -> tuple[list[tuple[Sequence[int], T]], list[tuple[int, Exception]]]:
    """Do a piece of work on rows together; where it fails, on halves of them, down to the rows at fault.

    Args:
        work: must not depend on the company of a row.
        rows: nothing is done without any.

    Returns:
        The parts that were done, in order, each with its result, and the rows that fail alone, with their errors.
    """
    if not rows:
        return [], []
    try:
        return [(rows, work(rows))], []
    except OF_THE_RUN:
        raise
    except OF_A_QUESTION as error:
        fault = error.with_traceback(None)  # else it holds what the failed try had allocated
        fault.__context__ = fault.__cause__ = None
    if is_out_of_memory(fault):  # a third of a second, which other faults need not cost
        release_memory()
    if len(rows) == 1:
        return [], [(rows[0], fault)]
    half = len(rows) // 2
    first, second = separately(work, rows[:half]), separately(work, rows[half:])
    return first[0] + second[0], first[1] + second[1]

"""Questions that a model cannot be asked, found before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.problems import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter

UNUSABLE = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What image files, image processors and tokenizers raise about a question that they cannot take."""


def refused(
    adapter: Adapter,
    questions: Sequence[Question],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """The questions that a model does not take, and why; each is bound by itself, and none is answered.

    Args:
        adapter: the model.
        questions: as in a data set.
        progress: called with the questions done and in all.

    Returns:
        By id of the question, the error in one line.
    """
    found = {}
    for done, question in enumerate(questions, start=1):
        try:
            adapter.bind([question])
        except UNUSABLE as error:
            found[question.id] = reason(error)
        progress(done, len(questions))
    return found


def reason(error: BaseException) -> str:
    """An error in one line."""
    return printable(f"{type(error).__name__}: {error}")

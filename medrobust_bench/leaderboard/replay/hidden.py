"""Fresh phantoms from a seed that only the maintainers know: whether a model has learnt answers or to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import fisher_exact

from medrobust_bench.data.source import PHANTOMS, open_data, sample

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.models.adapter import Adapter

from medrobust_bench.problems import InvalidInputError, Problem

FRESH = 100
"""Fresh phantoms that are asked unless told otherwise."""

UNLIKELY = 0.01
"""Chance that a model which is as good on fresh phantoms is called worse."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A model on phantoms that it cannot have seen.

    Attributes:
        asked: fresh phantoms.
        right: of them.
        submitted: right clean answers of the submission.
        of: clean answers of the submission.
    """

    asked: int
    right: int
    submitted: int
    of: int

    @property
    def p_value(self) -> float:
        """That a model which is as good on fresh phantoms does so badly on them: Fisher's exact test, one-sided."""
        table = [(self.right, self.asked - self.right), (self.submitted, self.of - self.submitted)]
        return float(fisher_exact(table, alternative="less").pvalue)

    @property
    def agrees(self) -> bool:
        """Whether fresh phantoms are answered about as well as the published ones."""
        return self.p_value > UNLIKELY

    def line(self) -> str:
        """For people; the seed is nobody's to read."""
        said = "as well" if self.agrees else "WORSE: it knows the published ones by heart"
        return (
            f"fresh phantoms: {self.right} of {self.asked} right, {self.submitted} of {self.of} were submitted; "
            f"{said} (p = {self.p_value:.2g})"
        )


def read_seed(path: Path) -> int:
    """The seed in a file, a whole number of at least 32 bits: a short one could be tried out.

    Raises:
        InvalidInputError: it holds something else.
    """
    try:
        seed = int(path.read_text(encoding="ascii").strip()[:100])
    except (OSError, ValueError) as error:
        what = "holds no seed"
        raise InvalidInputError([Problem(str(path), what, "write one whole number")]) from error
    if seed < 2**32:
        what = "holds a seed that could be guessed"
        raise InvalidInputError(
            [
                Problem(
                    str(path), what, "draw one of 60 bits: `shuf -i 1000000000000-1000000000000000000 -n 1`"
                )
            ]
        )
    return seed


def on_fresh_phantoms(adapter: Adapter, case: Case, *, count: int, seed: int) -> Hidden | None:
    """Ask fresh phantoms on their clean images; None where the submission is about other data.

    Args:
        adapter: the model.
        case: its submission.
        count: fresh phantoms, balanced like the published sample.
        seed: which nobody else knows.
    """
    if case.entry.result.data.name != PHANTOMS:
        return None
    chosen = case.entry.selection
    fresh = sample(
        open_data(PHANTOMS, split=chosen.split, seed=seed, modalities=chosen.modalities), count, seed=seed
    )
    right = 0
    for question in fresh.questions:
        bound = adapter.bind([question])
        right += bound.answer(bound.batch.images)[0].choice == question.answer
    submitted = sum(outcome.correct for outcome in case.proof.clean)
    return Hidden(len(fresh.questions), right, submitted, len(case.proof.clean))

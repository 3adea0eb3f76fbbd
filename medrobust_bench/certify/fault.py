"""What is wrong with published certificates."""

from __future__ import annotations

from dataclasses import dataclass

from medrobust_bench.problems import printable

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a file cannot be right.

    Attributes:
        check: name of the check that found it.
        what: what is wrong, in one sentence.
        rows: one-based lines of the file that show it; none where the file as a whole does.
    """

    check: str
    what: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        said = printable(f"{self.check}: {self.what}")
        if not self.rows:
            return said
        shown = ", ".join(map(str, self.rows[:SHOWN]))
        more = f" and {len(self.rows) - SHOWN} more" if len(self.rows) > SHOWN else ""
        return f"{said} (line{'s' if len(self.rows) > 1 else ''} {shown}{more})"


@dataclass(frozen=True, slots=True)
class Declared:
    """What an author says about his certificates; None: nothing said.

    Attributes:
        n: estimation draws.
        n0: selection draws.
        alpha: failure probability per question.
        sigma: standard deviation of the noise.
        expect: number of questions of the declared split.
        classes: number of classes, or of options.
    """

    n: int | None = None
    n0: int | None = None
    alpha: float | None = None
    sigma: float | None = None
    expect: int | None = None
    classes: int | None = None


def count_fault(found: int, expected: int | None) -> list[Fault]:
    """Whether there are as many questions as declared."""
    if expected is None or found == expected:
        return []
    return [
        Fault("rows", f"{found} questions, {expected} declared: every question of the split must be there")
    ]

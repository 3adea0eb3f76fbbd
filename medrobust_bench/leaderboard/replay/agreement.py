"""What came of doing claims again, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import beta

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.replay.hidden import Hidden

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Agreement:
    """One kind of claim, done again.

    Attributes:
        kind: its name.
        asked: claims repeated, drawn without replacement.
        of: claims that the submission makes.
        disagreements: what differs, one sentence each.
        tolerance: share of the repeated that may differ on another machine.
        means: what the bound is about.
        ranks: whether ranks rest on it directly.
    """

    kind: str
    asked: int
    of: int
    disagreements: tuple[str, ...]
    tolerance: float
    means: str
    ranks: bool = False

    @property
    def allowed(self) -> int:
        """Disagreements that another machine explains."""
        return int(self.tolerance * self.asked)

    @property
    def agrees(self) -> bool:
        """Whether no more differs than another machine explains."""
        return len(self.disagreements) <= self.allowed

    @property
    def bound(self) -> float:
        """With 95 % confidence at most this share of the submission's claims of this kind is not so.

        One-sided Clopper–Pearson: 1 − 0.05^(1/asked) without disagreements, which 300 bring below 1 %. Conservative,
        since claims are drawn without replacement; 0 disagreements among all are certain.
        """
        failed = len(self.disagreements)
        if self.asked == self.of:
            return failed / self.of if self.of else 0.0
        if failed >= self.asked:
            return 1.0
        return float(beta.ppf(CONFIDENCE, failed + 1, self.asked - failed))

    def line(self) -> str:
        """For people."""
        if not self.asked:
            return f"{self.kind}: none of {self.of} repeated, nothing is known about them"
        same = self.asked - len(self.disagreements)
        sure = "" if self.asked == self.of else " with 95 % confidence"
        return (
            f"{self.kind}: {same} of {self.asked} as submitted (of {self.of}; {self.allowed} may differ on another "
            f"machine);{sure} at most {100 * self.bound:.2f} % of its {self.means}"
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of doing a submission again.

    Attributes:
        agreements: kind by kind.
        other_weights: what is said where the model has other weights; None where it has not.
        seed: of the draw.
        hidden: the model on fresh phantoms, where they were asked.
    """

    agreements: tuple[Agreement, ...]
    other_weights: str | None
    seed: int
    hidden: Hidden | None = None

    @property
    def agrees(self) -> bool:
        """Whether the submission is borne out."""
        fresh = self.hidden is None or self.hidden.agrees
        return fresh and self.other_weights is None and all(one.agrees for one in self.agreements)

    def lines(self) -> list[str]:
        """For people, one thing a line."""
        told = [] if self.other_weights is None else [self.other_weights]
        for one in self.agreements:
            told.append(one.line())
            told += [f"  {what}" for what in one.disagreements[:10]]
        if self.hidden is not None:
            told.append(self.hidden.line())
        return told

"""The worst case over several attacks, each on what the ones before left standing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.attacks.apgd import Apgd
from medrobust_bench.attacks.attack_result import worse
from medrobust_bench.attacks.pgd import Pgd
from medrobust_bench.attacks.plan import Planned
from medrobust_bench.attacks.square import Square
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.specs.apgd import ApgdSpec
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.specs.square import SquareSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medrobust_bench.attacks.attack_result import Finding
    from medrobust_bench.attacks.plan import PlannedRun
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.specs.auto import AutoSpec
    from medrobust_bench.specs.gradient import Focus, Loss

_LETTER_LOSSES: tuple[tuple[Loss, Focus], ...] = (
    ("cross-entropy", "words"),
    ("margin", "words"),
    ("targeted", "words"),
)
_REASONING_LOSSES: tuple[tuple[Loss, Focus], ...] = (
    ("cross-entropy", "words"),
    ("margin", "words"),
    ("margin", "letter"),
    ("margin", "resampled"),
    ("targeted", "words"),
)


@dataclass(frozen=True, slots=True)
class Auto(BallThreat):
    """An ensemble after AutoAttack (Croce and Hein 2020), with losses for two to five options.

    Its members are attacks of their own with the same seeds, so that it breaks whatever `pgd-linf` (`pgd-l2`) with
    the same step count and size breaks, question by question.

    Attributes:
        spec: the published specification.
    """

    spec: AutoSpec

    @property
    def needs_gradient(self) -> bool:
        """Always."""
        return True

    def planned(self, question: Question, *, generates: bool) -> tuple[PlannedRun, ...]:
        """The runs of a question that withstands; see `Planned`."""
        members = self.members(generates=generates)
        return tuple(
            run
            for member in members
            if isinstance(member, Planned)
            for run in member.planned(question, generates=generates)
        )

    def members(self, *, generates: bool) -> list[Threat]:
        """The attacks, in order.

        Args:
            generates: whether answers are generated, see `BoundQuestions.generates`.
        """
        spec = self.spec
        ball = {"name": spec.name, "norm": spec.norm, "eps": spec.eps, "restarts": spec.restarts}
        return [
            Pgd(PgdSpec(**ball, kind="pgd", steps=spec.pgd_steps, step_size=spec.pgd_step_size)),
            *(
                Apgd(ApgdSpec(**ball, kind="apgd", steps=spec.steps, loss=loss, focus=focus))
                for loss, focus in (_REASONING_LOSSES if generates else _LETTER_LOSSES)
            ),
            *([Square(SquareSpec(**ball, kind="square", queries=spec.queries))] if spec.queries else []),
        ]

    def search(
        self, bound: BoundQuestions, pixels: torch.Tensor, answers: Sequence[int], seeds: Sequence[int]
    ) -> list[Finding]:
        """Search for images that are answered differently; see `Threat`."""
        first, *others = self.members(generates=bound.generates)
        findings = first.search(bound, pixels, answers, seeds)
        for member in others:
            rows = [row for row, finding in enumerate(findings) if finding.answer is None]
            if not rows:
                break
            found = member.search(
                bound.select(rows),
                pixels[rows],
                [answers[row] for row in rows],
                [seeds[row] for row in rows],
            )
            for row, finding in zip(rows, found, strict=True):
                findings[row] = worse(findings[row], finding)
        return findings

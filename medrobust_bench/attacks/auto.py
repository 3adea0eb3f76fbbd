"""The worst case over several attacks, each on what the ones before left standing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from medrobust_bench.attacks.apgd import Apgd
from medrobust_bench.attacks.attack_result import attack_standing
from medrobust_bench.attacks.pgd import Pgd
from medrobust_bench.attacks.plan import Planned
from medrobust_bench.attacks.square import Square
from medrobust_bench.attacks.threat import BallThreat
from medrobust_bench.specs.apgd import ApgdSpec
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.specs.square import SquareSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.plan import PlannedRun
    from medrobust_bench.attacks.search import Watch
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
    """An ensemble after AutoAttack (Croce and Hein 2020), with losses for any number of options.

    Its members are attacks of their own with the same seeds, so that it breaks whatever `pgd-linf` (`pgd-l2`) with
    the same step count and size breaks, question by question.

    Attributes:
        spec: the published specification.
    """

    spec: AutoSpec

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
            generates: whether answers are generated, see `BoundQuestions.generation`.
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
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently; see `Threat`."""
        first, *others = self.members(generates=bound.generation is not None)
        results = first.search(bound, seeds, watch=watch)
        for member in others:
            results = attack_standing(results, bound, seeds, partial(member.search, watch=watch))
        return results

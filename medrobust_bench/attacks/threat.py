"""What a threat is: a frozen, published specification and an attack that searches inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from medrobust_bench.attacks.budget import ball_budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.budget import Budget
    from medrobust_bench.attacks.search import Watch
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions
    from medrobust_bench.specs.norm_ball import NormBallSpec
    from medrobust_bench.specs.threat import ThreatSpec


@runtime_checkable
class Threat(Protocol):
    """An adversary."""

    @property
    def spec(self) -> ThreatSpec:
        """The published specification."""
        ...

    def budget(self, shape: tuple[int, int], seed: int) -> Budget:
        """What the adversary may change in an image of (height, width), for the question with this seed.

        Known without running the attack, so that what it hands in can be checked against it.
        """
        ...

    def search(
        self, bound: BoundQuestions, seeds: Sequence[int], *, watch: Watch | None = None
    ) -> list[AttackResult]:
        """Search for images that are answered differently.

        Args:
            bound: B questions that the model answers right on the clean images.
            seeds: B integers; all randomness about question i comes from seeds[i], so that the outcome of a
                question depends neither on its position nor on its company.
            watch: told of every image tried, see `Watch`.

        Returns:
            B results: the best 8-bit image found for each question, within the budget, whether or not it breaks
            the answer, and what it cost. Where answers are generated, an image may still wait, see `settled`.
        """
        ...


@runtime_checkable
class TrainedThreat(Protocol):
    """A threat that learns from questions of the training split before it is tried on others."""

    @property
    def training_questions(self) -> int:
        """How many questions of the training split `train` wants."""
        ...

    def train(self, adapter: Adapter, questions: Sequence[Question], *, seed: int) -> Threat:
        """The threat, trained against a model.

        Args:
            adapter: the model.
            questions: of the training split.
            seed: of the run.
        """
        ...


class BallThreat:
    """For threats that may move every pixel within a norm ball: what they may change.

    Attributes:
        spec: the published specification.
    """

    spec: NormBallSpec

    def budget(self, shape: tuple[int, int], seed: int) -> Budget:
        """The ball; the same for every image of a size, whatever the seed."""
        return ball_budget(self.spec)

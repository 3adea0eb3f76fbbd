"""Images that break one model's answers, put to another model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from medrobust_bench.records.data import DataRecord
from medrobust_bench.records.failure import Failure
from medrobust_bench.records.intervals import clustered
from medrobust_bench.records.model import ModelRecord
from medrobust_bench.records.record import Record
from medrobust_bench.records.result import Environment
from medrobust_bench.specs.kinds import AnySpec

if TYPE_CHECKING:
    from medrobust_bench.records.metrics import Estimate

TRANSFER_VERSION: Final = "1.0"


class TransferOutcome(Record):
    """One question: what both models answered on the clean image, and on the image that broke the source's answer."""

    question: str
    cluster: str = Field(description="What stands and falls together: the patient or study, else the image")
    answer: int = Field(ge=0, description="Index of the right option")
    source_clean: int | None = Field(description="The source's answer to the clean image")
    target_clean: int | None = Field(description="The target's answer to the clean image")
    witness_sha256: str | None = Field(
        default=None, description="SHA-256 of the PNG that broke the source's answer; null: none did"
    )
    source_choice: int | None = Field(default=None, description="The source's answer to it")
    target_choice: int | None = Field(default=None, description="The target's answer to it")

    @property
    def both_right(self) -> bool:
        """Whether both answered the clean image right."""
        return self.source_clean == self.answer == self.target_clean

    @property
    def broken(self) -> bool:
        """Whether an image broke the source's answer, where both were right."""
        return self.both_right and self.witness_sha256 is not None

    @property
    def transferred(self) -> bool:
        """Whether that image broke the target's answer as well."""
        return self.broken and self.target_choice != self.answer

    @property
    def target_right(self) -> bool:
        """Whether the target is right on the clean image, and on the image that broke the source where there is one."""
        return self.target_clean == self.answer and (
            self.witness_sha256 is None or self.target_choice == self.answer
        )


class Transfer(Record):
    """The images of one attack on one model, put to another: a result file of `medrobust transfer`."""

    schema_version: Literal["1.0"] = TRANSFER_VERSION
    source: ModelRecord
    target: ModelRecord
    data: DataRecord
    threat: AnySpec
    seed: int
    outcomes: tuple[TransferOutcome, ...] = Field(min_length=1)
    failed: tuple[Failure, ...] = Field(
        default=(), description="Questions that the target could not take, left out of all counts"
    )
    environment: Environment

    @property
    def both_right(self) -> int:
        """Questions that both answered right on the clean image."""
        return sum(outcome.both_right for outcome in self.outcomes)

    @property
    def broken(self) -> int:
        """Those of them for which an image broke the source's answer."""
        return sum(outcome.broken for outcome in self.outcomes)

    @property
    def transferred(self) -> int:
        """Those of these whose image broke the target's answer as well."""
        return sum(outcome.transferred for outcome in self.outcomes)

    @property
    def rate(self) -> Estimate | None:
        """Transferred among broken, with its 95 % interval by clusters; None where nothing was broken."""
        broken = [outcome for outcome in self.outcomes if outcome.broken]
        return _share([outcome.transferred for outcome in broken], broken) if broken else None

    @property
    def target_clean(self) -> Estimate:
        """The target's accuracy on the clean images of all questions."""
        return _share([outcome.target_clean == outcome.answer for outcome in self.outcomes], self.outcomes)

    @property
    def target_accuracy(self) -> Estimate:
        """The target's accuracy under the source's images: an upper bound on its robust accuracy."""
        return _share([outcome.target_right for outcome in self.outcomes], self.outcomes)


def _share(flags: list[bool], outcomes: list[TransferOutcome] | tuple[TransferOutcome, ...]) -> Estimate:
    return clustered([float(flag) for flag in flags], [outcome.cluster for outcome in outcomes])

"""One model under one threat on one data set: a result file.

Version history of `SCHEMA_VERSION`: 1.0, first published form; 1.1, with `without_images` and `credited_accuracy`.
Files of every version in `READABLE` are read; they keep theirs.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from medrobust_bench.records.data import DataRecord
from medrobust_bench.records.finding import Finding
from medrobust_bench.records.metrics import Estimate, Metrics
from medrobust_bench.records.model import ModelRecord
from medrobust_bench.records.record import Record
from medrobust_bench.records.without_images import WithoutImages
from medrobust_bench.specs.kinds import AnySpec

SCHEMA_VERSION: Final = "1.1"
READABLE: Final = ("1.0", "1.1")


class Cost(Record):
    """What the answers and the attack cost; image passes, so a batch of 8 counts 8."""

    forward_passes: int = Field(ge=0)
    backward_passes: int = Field(ge=0)
    seconds: float = Field(
        ge=0, allow_inf_nan=False, description="Wall time; the one field that differs between repeated runs"
    )


class Environment(Record):
    """Where a result was computed."""

    medrobust_bench: str
    python: str
    torch: str
    transformers: str
    adversarial_robustness_toolbox: str
    platform: str
    device: str


class Result(Record):
    """One model under one threat on one data set."""

    schema_version: Literal["1.0", "1.1"] = SCHEMA_VERSION
    model: ModelRecord
    data: DataRecord
    threat: AnySpec
    seed: int
    metrics: Metrics
    without_images: WithoutImages | None = Field(
        default=None,
        description="What its questions give away without any image; left out where nobody looked",
    )
    failed: dict[str, int] = Field(
        default_factory=dict,
        description="Questions that came to no outcome, by kind of fault; no accuracy counts them; left out where "
        "there are none",
    )
    audit: tuple[Finding, ...] = ()
    cost: Cost
    environment: Environment

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records of the first version read as they did."""
        fields: dict[str, Any] = serialise(self)
        if self.without_images is None:
            fields.pop("without_images", None)
        if not self.failed:
            fields.pop("failed", None)
        return fields

    @property
    def clean_accuracy(self) -> Estimate:
        """Accuracy on the clean images."""
        return self.metrics.clean_accuracy

    @property
    def robust_accuracy(self) -> Estimate:
        """Accuracy under the attack: an upper bound on robust accuracy.

        Raises:
            AttributeError: nothing attacked.
        """
        if self.metrics.robust_accuracy is None:
            raise AttributeError(f"{self.threat.name} is no attack, it yields {self.threat.yields} accuracy")
        return self.metrics.robust_accuracy

    @property
    def certified_accuracy(self) -> dict[float, Estimate]:
        """Certified accuracy by L2 radius, a lower bound on robust accuracy; empty without certification."""
        return {estimate.radius: estimate for estimate in self.metrics.certified_accuracy}


def json_schema() -> str:
    """The JSON Schema of a result file, as published in `docs/result.schema.json`."""
    return json.dumps(Result.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())

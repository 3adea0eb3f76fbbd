"""The result record: one JSON document per model, threat and data set.

Version history of `SCHEMA_VERSION`: 1.0, first published form. A reader refuses another major version.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = "1.0"


class Record(BaseModel):
    """A frozen record that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Record):
    """A proportion with its 95 % Wilson interval."""

    value: float = Field(ge=0, le=1, description="Share of the questions")
    low: float = Field(ge=0, le=1, description="Lower end of the 95 % Wilson interval")
    high: float = Field(ge=0, le=1, description="Upper end of the 95 % Wilson interval")
    n: int = Field(ge=1, description="Number of questions")


class CertifiedEstimate(Estimate):
    """Certified accuracy at one L2 radius."""

    radius: float = Field(ge=0, description="L2 radius in canonical pixel space, pixels in [0, 1]")


class Smoothing(Record):
    """Randomized smoothing at inference: the answer that is most frequent under Gaussian noise."""

    sigma: float = Field(gt=0, description="Standard deviation of the noise, canonical pixels in [0, 1]")
    n: int = Field(ge=1, description="Noisy images per answer")
    alpha: float = Field(
        gt=0,
        lt=1,
        description="Probability that an answer given is not the most frequent one; else it abstains",
    )
    base: Literal["likelihood", "generate"] = Field(
        default="likelihood",
        description="Which answers are counted: the option of highest likelihood, or the deployed answer to the noisy "
        "image rounded to 8 bits",
    )


class ModelRecord(Record):
    """Which model produced a result."""

    id: str = Field(description="Card id, hub id or folder name")
    revision: str | None = Field(default=None, description="Hub commit or tag; null for a local folder")
    weights_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 over name, dtype, shape and bytes of every loaded parameter and buffer, by name",
    )
    dtype: str = Field(
        pattern=r"^[a-z0-9_]{1,40}$",
        description="Floating-point type of the parameters during evaluation, e.g. float32",
    )
    answer_mode: Literal["letter", "option-text", "reasoning"]
    parameters: int = Field(ge=0, description="Number of parameters")
    trust_remote_code: bool = Field(
        default=False, description="Whether code from the checkpoint's repository was run"
    )
    draws: int = Field(
        default=1,
        ge=1,
        description="Passes per loss, gradient and verdict; more than one where the model's scores were found to be "
        "random (the cost counts them as one)",
    )
    smoothing: Smoothing | None = Field(
        default=None, description="Of the weights' answers; null: the plain model"
    )


class SkippedRow(Record):
    """A row of the data set that was left out."""

    where: str
    row: int | None
    reason: str


class DataRecord(Record):
    """Which questions were asked."""

    name: str
    split: str
    synthetic: bool = Field(description="True where images are rendered rather than taken from patients")
    n: int = Field(ge=1, description="Number of questions asked")
    digest: str = Field(
        description="SHA-256 over id, image content, text, options and answer of every question"
    )
    skipped: tuple[SkippedRow, ...] = ()


class ThreatRecord(BaseModel):
    """The threat's full specification; the fields beyond these depend on its kind."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    kind: str


class UnparsedRate(Record):
    """Share of answers that could not be parsed; each counts as wrong."""

    clean: float = Field(ge=0, le=1)
    adversarial: float | None = Field(default=None, ge=0, le=1, description="Among the attacked questions")


class Scores(Record):
    """The scores of one group of questions."""

    clean_accuracy: Estimate
    robust_accuracy: Estimate | None = Field(
        default=None,
        description="Right on the clean image and on every image the attack found; null without attack",
    )
    certified_accuracy: tuple[CertifiedEstimate, ...] = Field(
        default=(),
        description="Right with an L2 certificate of at least this radius; abstention counts as wrong",
    )


class Metrics(Scores):
    """The scores of a run, whole and by group."""

    unparsed_rate: UnparsedRate
    nondeterminism: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the clean images that were answered differently when judged a second time; "
        "differences of accuracy below it mean nothing",
    )
    rounding_loss: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the questions whose answer the attack broke in floating point only; null without attack "
        "and for generated answers",
    )
    by_modality: dict[str, Scores]
    by_question_type: dict[str, Scores]
    worst_modality: str | None = Field(
        description="Modality with the lowest robust (certified, clean) accuracy; null with a single modality"
    )


class Finding(Record):
    """What one audit check found."""

    check: str
    value: float | str | None
    verdict: Literal["pass", "warn", "fail"]
    meaning: str
    source: str = Field(default="", description="Who proposed the check")


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

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    model: ModelRecord
    data: DataRecord
    threat: ThreatRecord
    seed: int
    metrics: Metrics
    audit: tuple[Finding, ...] = ()
    cost: Cost
    environment: Environment


class AttemptRecord(Record):
    """One run of an attack on one question: one start, one objective."""

    objective: str = Field(description="What was ascended")
    losses: tuple[Annotated[float, Field(allow_inf_nan=False)] | None, ...] = Field(
        description="Its value at every image tried, to 6 digits; null where it was not finite"
    )
    broken: bool = Field(description="Verified on the deployed path when the run ended")


class Outcome(Record):
    """One question under one threat: a line of the journal."""

    model: str
    threat: str
    question: str
    image_sha256: str = Field(default="", description="SHA-256 of the clean canonical image's raw RGB bytes")
    modality: str
    question_type: str
    answer: int = Field(ge=0, description="Index of the right option")
    clean_choice: int | None = Field(description="Option chosen on the clean image; null if unparsable")
    choice: int | None = Field(
        description="Option chosen under the threat (clean image where there was no attack)"
    )
    attacked: bool = Field(default=False, description="False where the clean answer was already wrong")
    correct: bool = Field(description="Still right under the threat")
    text: str = Field(default="", description="What a generating model said under the threat")
    witness_sha256: str | None = Field(default=None, description="SHA-256 of the PNG that broke the answer")
    certificate: dict[str, Any] | None = None
    steady: bool = Field(
        default=True, description="Of the clean image: the same answer when it was judged a second time"
    )
    blind_choices: dict[str, int | None] | None = Field(
        default=None,
        description="Of a clean image that was answered right: the option chosen where it is replaced by a blank, "
        "noise or shuffled one; null where that was not asked",
    )
    rounded_away: bool = Field(
        default=False, description="Wrong on the float path only: no 8-bit image of it was answered wrongly"
    )
    attempts: tuple[AttemptRecord, ...] = Field(default=(), description="The attack's runs, in order")
    forward_passes: int = Field(default=0, ge=0)
    backward_passes: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def json_schema() -> str:
    """The JSON Schema of a result file, as published in `docs/result.schema.json`."""
    return json.dumps(Result.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())

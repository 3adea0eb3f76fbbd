"""Which model gave the answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medrobust_bench.records.record import Record


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
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"]
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

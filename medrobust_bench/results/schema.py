"""The result record: one JSON document per model, threat and data set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """A frozen record that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(Record):
    """Which model produced a result."""

    id: str = Field(description="Card id, hub id or folder name")
    revision: str | None = Field(default=None, description="Hub commit or tag; null for a local folder")
    weights_sha256: str = Field(description="SHA-256 over name, dtype, shape and bytes of every loaded parameter and buffer, by name")
    dtype: str = Field(description="Floating-point type of the parameters during evaluation, e.g. float32")
    answer_mode: str = Field(description="letter, option-text or reasoning")
    parameters: int = Field(description="Number of parameters")
    trust_remote_code: bool = Field(default=False, description="Whether code from the checkpoint's repository was run")

"""Which threat the answers met."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ThreatRecord(BaseModel):
    """The threat's full specification; the fields beyond these depend on its kind."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    kind: str

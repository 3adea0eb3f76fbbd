"""What every specification of a threat has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ThreatSpec(BaseModel):
    """What every specification has; each kind of threat adds its own fields.

    Specifications are frozen, reject unknown keys, and go into the result as they are, so that a number can
    be traced to exactly one setting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str

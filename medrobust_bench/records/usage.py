"""What a server was asked, and what it cost."""

from __future__ import annotations

from pydantic import Field

from medrobust_bench.records.record import Record


class UsageRecord(Record):
    """What a server was asked for one model of a run; a reply that was known already counts once."""

    requests: int = Field(ge=0, description="Replies that the server gave")
    prompt_tokens: int = Field(ge=0, description="Tokens that it read, images included, as it counts them")
    completion_tokens: int = Field(ge=0, description="Tokens that it wrote")
    refused: int = Field(ge=0, description="Replies that the server or its filter marks as refusals")
    truncated: int = Field(ge=0, description="Replies that its length limit cut short")
    cost: float | None = Field(
        default=None, ge=0, description="In the currency of the prices given; null without prices"
    )
    fingerprints: tuple[str, ...] = Field(default=(), description="Its names of its configuration meanwhile")

    @property
    def summary(self) -> str:
        """In one line."""
        parts = [
            f"{self.requests:,} replies",
            f"{self.prompt_tokens:,} tokens read",
            f"{self.completion_tokens:,} written",
        ]
        parts += [f"{self.refused:,} refused"] if self.refused else []
        parts += [f"{self.truncated:,} cut short"] if self.truncated else []
        parts += [f"cost {self.cost:.4f}"] if self.cost is not None else []
        return ", ".join(parts)

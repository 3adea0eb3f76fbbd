"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) instead of training all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from peft import LoraConfig


class LoraSettings(BaseModel):
    """Low-rank adapters by peft, merged into the weights at the end.

    Attributes:
        rank: of the update.
        alpha: its scale; the update counts alpha/rank times.
        dropout: on the adapters' input.
        target_modules: a regular expression of module names, a list of names, or "all-linear".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"

    def config(self) -> LoraConfig:
        """The same for peft."""
        from peft import LoraConfig

        modules = self.target_modules
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=modules if isinstance(modules, str) else list(modules),
        )

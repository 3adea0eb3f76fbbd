"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) instead of training all weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

ALL = "all-linear"


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
    target_modules: str | tuple[str, ...] = ALL

    @field_validator("target_modules")
    @classmethod
    def _names_modules(cls, modules: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not modules:
            raise ValueError(f"must name modules, or be {ALL!r}")
        if isinstance(modules, str):
            try:
                re.compile(modules)
            except re.error as error:
                raise ValueError(f"no regular expression: {error}") from error
        return modules

    def check(self, model: nn.Module) -> None:
        """See whether the model has such modules.

        Raises:
            InvalidInputError: nothing in it has a name that the expression matches, or one of the names.
        """
        names = [name for name, _ in model.named_modules()]
        if self.target_modules == ALL:
            return
        if isinstance(self.target_modules, str):
            missing = [self.target_modules]
            if any(re.fullmatch(self.target_modules, name) for name in names):
                missing = []
        else:
            missing = [
                one
                for one in self.target_modules
                if not any(name == one or name.endswith(f".{one}") for name in names)
            ]
        if missing:
            what = f"no module of {type(model).__name__} is called so: {', '.join(missing)}"
            last = ", ".join(sorted({name.rpartition(".")[2] for name in names if name.endswith("_proj")}))
            remedy = f"give {ALL!r} or names of the model's own modules{last and f', such as {last}'}"
            raise InvalidInputError([Problem("lora.target_modules", what, remedy)])

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

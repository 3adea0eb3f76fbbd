"""What questions give away without any image."""

from __future__ import annotations

from pydantic import Field

from medrobust_bench.records.record import Record


class WithoutImages(Record):
    """Accuracies that nobody needs an image for, over the same questions as those of the models."""

    chance: float = Field(ge=0, le=1, description="Expected of a uniform guess among each question's options")
    majority: float = Field(ge=0, le=1, description="Of always giving the letter that is right most often")
    option_texts: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Of giving the option whose text was right most often when it was offered in the training split; "
        "null without a training split",
    )

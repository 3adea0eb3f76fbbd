"""Which questions were asked."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from medrobust_bench.records.record import Record


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
        description="SHA-256 over id, image content, text, options, answer and group, if any, of every question"
    )
    skipped: tuple[SkippedRow, ...] = ()
    groups: int | None = Field(
        default=None,
        ge=1,
        description="Number of patients or studies, where they are known: every interval is clustered by them",
    )
    preparation: dict[str, int] = Field(
        default_factory=dict,
        description="What was done to images beyond resizing (window, frame, depth), and to how many questions' "
        "images; left out where they were taken as they are",
    )

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records of images that were taken as they are read as they did before this was recorded."""
        fields: dict[str, Any] = serialise(self)
        if not self.preparation:
            fields.pop("preparation", None)
        if self.groups is None:
            fields.pop("groups", None)
        return fields

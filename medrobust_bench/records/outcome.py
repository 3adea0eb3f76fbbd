"""One question under one threat: a line of the journal."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from medrobust_bench.records.answer import AnswerKind, Tier
from medrobust_bench.records.record import Record


class AttemptRecord(Record):
    """One run of an attack on one question: one start, one objective."""

    objective: str = Field(description="What was ascended")
    losses: tuple[Annotated[float, Field(allow_inf_nan=False)] | None, ...] = Field(
        description="Its value at every image tried, to 6 digits; null where it was not finite"
    )
    broken: bool = Field(description="Verified on the deployed path when the run ended")


class Alteration(Record):
    """One altered image of a question and the deployed answer to it; the image can be made again from this."""

    what: str = Field(description="Kind of corruption, or the words that were written into the image")
    severity: int | None = Field(default=None, ge=1, le=5)
    amount: float | None = Field(default=None, allow_inf_nan=False, description="In the unit of the kind")
    draw: int = Field(default=0, ge=0, description="Which of the question's random streams")
    free: tuple[Annotated[float, Field(ge=0, lt=1)], ...] | None = Field(
        default=None, description="Free parameters that a search chose; null where they come from the stream"
    )
    control: Literal["right option", "neutral"] | None = Field(
        default=None,
        description="Of a text: what it says instead of naming the wrong option; its answer does not count",
    )
    on_text: bool | None = Field(
        default=None, description="Of a text: whether the clean image seems to carry text of its own"
    )
    tried: int | None = Field(
        default=None,
        ge=1,
        description="Of a text: how many of its sort were tried; left out where a control is one text, in the place of "
        "the words that decided",
    )
    image_sha256: str = Field(description="SHA-256 of the altered image's raw RGB bytes")
    choice: int | None = Field(description="Option chosen; null if unparsable")

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Corrupted images read as they did before texts were counted."""
        fields: dict[str, Any] = serialise(self)
        if self.tried is None:
            fields.pop("tried", None)
        return fields


class Outcome(Record):
    """One question under one threat: a line of the journal."""

    model: str
    threat: str
    question: str
    image_sha256: str = Field(default="", description="SHA-256 of the clean canonical image's raw RGB bytes")
    group: str | None = Field(
        default=None, description="Patient or study of the image; left out where not known"
    )
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
    kind: AnswerKind | None = Field(
        default=None, description="What the generated answer was; left out where options are scored"
    )
    tier: Tier | None = Field(
        default=None, description="The rule by which it was read; left out where options are scored"
    )
    tokens: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] | None = Field(
        default=None,
        description="Of a clean image: the ids of the tokens that a generating model wrote, so that a run that goes on "
        "or grows need not have them written again; left out elsewhere",
    )
    witness_sha256: str | None = Field(default=None, description="SHA-256 of the PNG that broke the answer")
    alterations: tuple[Alteration, ...] = Field(
        default=(),
        description="Images that can be made again, in place of stored ones, and the answers to them",
    )
    certificate: dict[str, Any] | None = None
    steady: bool = Field(
        default=True, description="Of the clean image: the same answer when it was judged a second time"
    )
    blind_choices: dict[str, int | None] | None = Field(
        default=None,
        description="Of a clean image that was answered right: the option chosen where it is replaced by a blank, "
        "noise or shuffled one, or by another question's; null where that was not asked",
    )
    rounded_away: bool = Field(
        default=False, description="Wrong on the float path only: no 8-bit image of it was answered wrongly"
    )
    attempts: tuple[AttemptRecord, ...] = Field(default=(), description="The attack's runs, in order")
    forward_passes: int = Field(default=0, ge=0)
    backward_passes: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def cluster(self) -> str:
        """What stands and falls with this outcome: all questions about one patient, else about one image."""
        return f"group {self.group}" if self.group is not None else self.image_sha256 or self.question

    @property
    def decisive(self) -> Alteration | None:
        """Of its altered images the first that was answered wrongly, else the last; controls aside."""
        counted = [one for one in self.alterations if one.control is None]
        return next((one for one in counted if one.choice != self.answer), counted[-1] if counted else None)

    @property
    def share_right(self) -> float:
        """Share of its altered images that are answered right, 0 or 1 where an adversary chose one; controls aside."""
        counted = [one.choice == self.answer for one in self.alterations if one.control is None]
        return sum(counted) / len(counted) if counted else float(self.correct)

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Lines without alterations, groups or kinds of answers read as they did before there were any."""
        fields: dict[str, Any] = serialise(self)
        for name in ("group", "kind", "tier", "tokens"):
            if fields.get(name) is None:
                fields.pop(name, None)
        if not self.alterations:
            fields.pop("alterations", None)
        return fields

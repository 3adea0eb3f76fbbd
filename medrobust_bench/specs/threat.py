"""What every specification of a threat has: a name, a kind, and traits that the rest of the program asks."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Yields = Literal["clean", "robust", "certified", "corrupted"]


class ThreatSpec(BaseModel):
    """What a model's answers are to withstand.

    Specifications are frozen, reject unknown keys, and go into the result as they are, so that a number can be traced
    to exactly one setting. Audit, worst case, verification, tables and site ask the traits, never the kind.

    Attributes:
        name: what results call it.
        kind: which attack, corruption or certification carries it out.
        yields: the accuracy that it measures: on clean images; "robust", where an adversary chose the images;
            "certified", where no adversary can; "corrupted", where chance did.
        white_box: whether it differentiates through the model; a model without gradients in the pixels cannot meet it.
        needs_scores: whether it compares scores of options; a model that gives answers alone cannot meet it.
        norm_ball: whether it may move every pixel within a norm ball (it has `norm`, `eps` and `radius` then).
        ensemble: whether it keeps the worst case over several attacks, and so breaks what any of them breaks.
        family: threats of one family share a worst case: what does the same kind of thing to an image.
        remade: whether its images can be made again from the clean ones and the journal, so that none is stored.
        shorthand: the field that may stand without its key right after the kind (`corruption:jpeg,severity=3`), of a
            kind that has no official specification to override.
        trained: whether it learns from the training split first, and then does the same to every image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    yields: ClassVar[Yields] = "robust"
    white_box: ClassVar[bool] = False
    norm_ball: ClassVar[bool] = False
    ensemble: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    family: ClassVar[str] = "attack"
    remade: ClassVar[bool] = False
    shorthand: ClassVar[str | None] = None

    name: str
    kind: str

    @property
    def needs_scores(self) -> bool:
        """See above; what differentiates through the model does."""
        return self.white_box

    @property
    def summary(self) -> str:
        """The specification in one line."""
        fields = self.model_dump(mode="json", exclude={"name", "kind"})
        return "; ".join([self.kind, *(f"{key} {value}" for key, value in fields.items())])


class CleanSpec(ThreatSpec):
    """The images as they are: what every run measures first."""

    yields: ClassVar[Yields] = "clean"

    name: Literal["clean"] = "clean"
    kind: Literal["clean"] = "clean"


class WorstCaseSpec(ThreatSpec):
    """The worst case over the threats of one family in a run, question by question.

    That of the attacks is called "worst-case"; those of other families say which: "worst-case-injection".

    Attributes:
        threats: names of the attacks.
    """

    name: str = Field(default="worst-case", pattern=r"^worst-case(-[a-z]+)?$")
    kind: Literal["worst-case"] = "worst-case"
    threats: tuple[str, ...]


CLEAN = CleanSpec()

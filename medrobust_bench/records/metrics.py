"""Proportions with their intervals, whole and by group."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from medrobust_bench.records.answer import AnswerKind, Tier
from medrobust_bench.records.record import Record


class Estimate(Record):
    """A proportion with its 95 % Wilson interval."""

    value: float = Field(ge=0, le=1, description="Share of the questions")
    low: float = Field(ge=0, le=1, description="Lower end of the 95 % Wilson interval")
    high: float = Field(ge=0, le=1, description="Upper end of the 95 % Wilson interval")
    n: int = Field(ge=1, description="Number of questions")


class CertifiedEstimate(Estimate):
    """Certified accuracy at one L2 radius."""

    radius: float = Field(ge=0, description="L2 radius in canonical pixel space, pixels in [0, 1]")


class CorruptionEstimate(Estimate):
    """Accuracy under one kind of corruption at one severity, over the questions that meet it."""

    kind: str
    severity: int = Field(ge=1, le=5)
    clean: float = Field(ge=0, le=1, description="Clean accuracy on the same questions")


class PairedDifference(Record):
    """A difference of two accuracies on the same questions."""

    value: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1, description="Lower end of the 95 % interval, clustered by image")
    high: float = Field(ge=-1, le=1, description="Upper end of the 95 % interval, clustered by image")


class ControlEstimate(Estimate):
    """Accuracy under the worst of as many harmless texts, in the same places and sizes, paired with the wrong words."""

    control: str = Field(description="What the text says instead: it names the right option, or says nothing")
    only_words: int = Field(ge=0, description="Questions that the wrong words break and the control does not")
    only_control: int = Field(
        ge=0, description="Questions that the control breaks and the wrong words do not"
    )
    words_cost: PairedDifference | None = Field(
        default=None,
        description="Accuracy with this text less that with the wrong words; null as the p-value",
    )
    p_value: float | None = Field(
        ge=0,
        le=1,
        description="Two-sided, of equal accuracy: whole images exchanged between the texts, McNemar's exact test with "
        "one question an image; null where the control is one text instead of the worst of as many",
    )


class AnswerCounts(Record):
    """How many generated answers were of which kind, and by which rule those that were read were read.

    Those on the clean images of a clean result; else those of the attacked questions.
    """

    kinds: dict[AnswerKind, Annotated[int, Field(ge=1)]] = Field(description="By kind; none is left out")
    tiers: dict[Tier, Annotated[int, Field(ge=1)]] = Field(
        description="By rule, of the answers that were read"
    )


class UnparsedRate(Record):
    """Share of answers that could not be parsed; each counts as wrong."""

    clean: float = Field(ge=0, le=1)
    adversarial: float | None = Field(default=None, ge=0, le=1, description="Among the attacked questions")


class Scores(Record):
    """The scores of one group of questions."""

    clean_accuracy: Estimate
    robust_accuracy: Estimate | None = Field(
        default=None,
        description="Right on the clean image and on every image the attack found; null without attack",
    )
    corrupted_accuracy: Estimate | None = Field(
        default=None,
        description="Mean over the questions of the share of corrupted images that are answered right, with an "
        "interval clustered by image; n counts the questions that meet a corruption; null without corruptions",
    )
    certified_accuracy: tuple[CertifiedEstimate, ...] = Field(
        default=(),
        description="Right with an L2 certificate of at least this radius; abstention counts as wrong",
    )
    credited_accuracy: Estimate | None = Field(
        default=None,
        description="As the accuracy that ranks (robust, corrupted, certified at the smallest radius; clean without a "
        "threat), with only those answers counted that depend on the image; over the questions that were also asked "
        "without it; left out where none was",
    )
    further: dict[str, Estimate] = Field(
        default_factory=dict, description="Metrics that were asked for by name; left out where there are none"
    )

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records without further metrics or corruptions read as they did before there were any."""
        fields: dict[str, Any] = serialise(self)
        for name in (
            "further",
            "corrupted_accuracy",
            "credited_accuracy",
            "by_corruption",
            "controls",
            "on_text",
            "answers",
        ):
            if fields.get(name) in (None, (), [], {}):
                fields.pop(name, None)
        return fields


class Metrics(Scores):
    """The scores of a run, whole and by group."""

    unparsed_rate: UnparsedRate
    answers: AnswerCounts | None = Field(
        default=None, description="Of generated answers; left out where options are scored"
    )
    nondeterminism: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the clean images that were answered differently when judged a second time; "
        "differences of accuracy below it mean nothing",
    )
    rounding_loss: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the questions whose answer the attack broke in floating point only; null without attack "
        "and for generated answers",
    )
    by_corruption: tuple[CorruptionEstimate, ...] = Field(
        default=(), description="By kind and severity; left out where there are none"
    )
    controls: tuple[ControlEstimate, ...] = Field(
        default=(), description="Of text in the image; left out where there is none"
    )
    on_text: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the images into which text was written that seem to carry text of their own",
    )
    by_modality: dict[str, Scores]
    by_question_type: dict[str, Scores]
    worst_modality: str | None = Field(
        description="Modality with the lowest robust (certified, clean) accuracy; null with a single modality"
    )

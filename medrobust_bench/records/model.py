"""Which model gave the answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from medrobust_bench.records.record import Record

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Identity(Record):
    """What decides a model's answers beside its weights: a SHA-256 of each part.

    What enters each is said in `models.identity`. A part is null where it is not pinned or not known, or where it
    decides nothing, as the generation settings of a model that writes nothing.
    """

    configuration: Digest | None = Field(default=None, description="Of the checkpoint's config")
    tokenizer: Digest | None = Field(default=None, description="Of vocabulary, merges and special tokens")
    chat_template: Digest | None = Field(
        default=None,
        description="Of the chat template as rendered around a fixed user's turn, on a fixed day",
    )
    image_processor: Digest | None = Field(default=None, description="Of the image processor's settings")
    generation: Digest | None = Field(default=None, description="Of the generation settings in effect")
    prompt: Digest | None = Field(default=None, description="Of what the user says about a fixed question")
    strategy: Digest | None = Field(default=None, description="Of how the answer is obtained and read")

    @property
    def of_checkpoint(self) -> Identity:
        """The parts that the checkpoint alone decides, however it is asked."""
        return Identity(
            configuration=self.configuration, tokenizer=self.tokenizer, image_processor=self.image_processor
        )

    def differences(self, other: Identity) -> list[str]:
        """Names of the parts that are known in both and differ, in plain words."""
        return [
            name.replace("_", " ")
            for name in type(self).model_fields
            if None not in (known := {getattr(self, name), getattr(other, name)}) and len(known) == 2
        ]

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialise(self)
        return {name: digest for name, digest in fields.items() if digest is not None}


class Smoothing(Record):
    """Randomized smoothing at inference: the answer that is most frequent under Gaussian noise."""

    sigma: float = Field(gt=0, description="Standard deviation of the noise, canonical pixels in [0, 1]")
    n: int = Field(ge=1, description="Noisy images per answer")
    alpha: float = Field(
        gt=0,
        lt=1,
        description="Probability that an answer given is not the most frequent one; else it abstains",
    )
    base: Literal["likelihood", "generate"] = Field(
        default="likelihood",
        description="Which answers are counted: the option of highest likelihood, or the deployed answer to the noisy "
        "image rounded to 8 bits",
    )


class Base(Record):
    """The model that an adapter (LoRA) was merged into."""

    source: str = Field(description="Hub id or folder name, as the adapter's config gives it")
    revision: str | None = Field(default=None, description="Hub commit or tag; null for a local folder")
    weights_sha256: Digest = Field(description="Of the base's weights, before the adapter was merged")
    adapter_sha256: Digest = Field(description="Of the adapter's tensors")


class ServerRecord(Record):
    """The server whose answers were measured, and what it says about itself."""

    base_url: str = Field(description="Its address, up to and with /v1")
    model: str = Field(description="The name under which it was asked for the model")
    answered_as: str | None = Field(
        default=None, description="Its own name of the model that gave the first answer"
    )
    fingerprint: str | None = Field(default=None, description="Its own name of its configuration, then")
    scores: bool = Field(default=False, description="Whether it gave log-probabilities of the option letters")
    request_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of what every request holds beside question and image: sampling settings, length limit, "
        "system turn, stop texts, instruction",
    )
    compared: int | None = Field(
        default=None,
        ge=1,
        description="Clean questions put to the local weights as well, where a server answers for them",
    )
    agreed: int | None = Field(default=None, ge=0, description="Those that both answered alike")


class ModelRecord(Record):
    """Which model produced a result."""

    id: str = Field(description="Card id, hub id or folder name")
    revision: str | None = Field(default=None, description="Hub commit or tag; null for a local folder")
    weights_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 over name, dtype, shape and bytes of every loaded parameter and buffer, by name; null "
        "where the weights are unknown, as behind a server",
    )
    dtype: str = Field(
        pattern=r"^[a-z0-9_]{1,40}$",
        description="Floating-point type of the parameters during evaluation, e.g. float32; unknown behind a server",
    )
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"]
    parameters: int = Field(ge=0, description="Number of parameters; 0 where it is unknown")
    server: ServerRecord | None = Field(
        default=None,
        exclude_if=lambda server: server is None,
        description="Where the answers came from, unless from weights at hand",
    )
    trust_remote_code: bool = Field(
        default=False, description="Whether code from the checkpoint's repository was run"
    )
    draws: int = Field(
        default=1,
        ge=1,
        description="Passes per loss, gradient and verdict; more than one where the model's scores were found to be "
        "random (the cost counts them as one)",
    )
    smoothing: Smoothing | None = Field(
        default=None, description="Of the weights' answers; null: the plain model"
    )
    base: Base | None = Field(
        default=None, description="Of a model that is an adapter merged into another; left out of any other"
    )
    identity: Identity | None = Field(
        default=None, description="Digests of what else decides the answers; left out where it is not known"
    )

    @property
    def weights(self) -> str:
        """What tells its weights from others': their SHA-256, or its id where they are unknown."""
        return f"unknown weights of {self.id}" if self.weights_sha256 is None else self.weights_sha256

    def differences(self, other: ModelRecord) -> list[str]:
        """In what another record is that of another model, in plain words; what one of them does not know is equal."""
        names = [name for name in type(self).model_fields if name not in ("id", "identity")]
        found = [_NAMES.get(name, name) for name in names if getattr(self, name) != getattr(other, name)]
        if self.identity is not None and other.identity is not None:
            found += self.identity.differences(other.identity)
        return found

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records from before identities were written read and are written as they were."""
        fields: dict[str, Any] = serialise(self)
        for name in ("base", "identity"):
            if getattr(self, name) is None:
                fields.pop(name, None)
        return fields


_NAMES = {
    "weights_sha256": "weights",
    "answer_mode": "answer mode",
    "trust_remote_code": "trust in remote code",
    "draws": "passes per verdict",
}

"""What a run is asked to do: the same model behind the command's flags and a YAML file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.specs.vocabulary import modality_name

if TYPE_CHECKING:
    from pathlib import Path

PHANTOM_LIMIT = 24

DECIDES_NOTHING = ("base_url", "key_variable", "concurrency", "price_input", "price_output")
"""Settings that may differ where a run is resumed: no answer depends on them."""

FEWEST_FAILED = 10
"""Failed questions that no share stops a run for."""

GROWING = ("models", "threats", "metrics", "limit")
"""Settings in which a run may grow when it is extended."""

OF_THE_ENDING = ("skip_failed", "max_failed")
"""Settings that say what becomes of failed questions; they change no outcome, and may differ when a run is resumed."""

_FLAGS = {"models": "--model", "threats": "--threat", "metrics": "--metric", "modalities": "--modality"}


def _modality(value: Any) -> Any:
    """A known modality whatever its case or spelling; any other as it is, to be looked for in the data set."""
    return modality_name(value) if isinstance(value, str) else value


class RunSettings(BaseModel):
    """Settings of `medrobust run`. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(
        default=("tiny-sft-reasoning", "safemed-r1-tiny"),
        min_length=1,
        description="Card ids, card files, checkpoint folders, hub ids, or openai:NAME for a model behind a server",
    )
    threats: tuple[str, ...] = Field(
        default=("pgd-linf", "pgd-l2", "patch", "certified-l2-quick"),
        description="Official names, names with overrides (pgd-linf:eps=4/255) or YAML files; clean is always measured",
    )
    data: str = Field(
        default="phantoms", description="'phantoms', an OmniMedVQA folder or a published split file"
    )
    images: str | None = Field(
        default=None, description="Folder of the images, or the one that holds it, where it is not found"
    )
    metrics: tuple[str, ...] = Field(
        default=(), description="Further metrics over outcomes, by name (attack-success)"
    )
    split: Literal["train", "validation", "test", "all"] = "test"
    modalities: tuple[Annotated[str, BeforeValidator(_modality)], ...] = Field(
        default=(), description="Only these modalities; empty for all"
    )
    limit: PositiveInt | None = Field(
        default=None,
        description=f"Size of a balanced, seeded sample; unset: {PHANTOM_LIMIT} phantoms, or all of any other data",
    )
    skip_invalid: bool = Field(default=False, description="Leave faulty rows out, and say so in the result")
    skip_failed: bool = Field(
        default=False,
        description="Leave out questions that failed under any model or threat, and say so in the result",
    )
    max_failed: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of a model's questions that may fail before the run stops; "
        f"fewer than {FEWEST_FAILED} never stop it",
    )
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None = Field(
        default=None, description="Overrides the card's answer mode"
    )
    max_new_tokens: PositiveInt | None = Field(
        default=None, description="Overrides the card's length limit of a generated answer"
    )
    revision: str | None = Field(default=None, description="Hub commit or tag; overrides the card's")
    batch_size: PositiveInt | Literal["auto"] = Field(
        default="auto", description="Questions per chunk; halved by itself where memory runs out"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps, …")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    float32_attack: bool = Field(
        default=True,
        description="Attack what a model in half precision leaves standing again, with gradients in float32;"
        " takes 4 bytes per parameter besides the model",
    )
    trust_remote_code: bool = Field(default=False, description="Run code from a hub checkpoint's repository")
    seed: int = Field(default=0, ge=0, description="Seed of the sample and of every attack")
    base_url: str | None = Field(
        default=None, description="Address of the server of openai:NAME, such as http://localhost:8000/v1"
    )
    answers_from: str | None = Field(
        default=None,
        description="What the server at base_url calls the model's weights: it answers for them, gradients stay here",
    )
    key_variable: str | None = Field(
        default=None, description="Environment variable that holds the server's key; unset: OPENAI_API_KEY"
    )
    concurrency: PositiveInt | None = Field(
        default=None, description="Requests to a server at the same time; unset: the card's, else 8"
    )
    price_input: float | None = Field(
        default=None,
        ge=0,
        description="What a server charges per million tokens read, for the count of costs",
    )
    price_output: float | None = Field(
        default=None, ge=0, description="What it charges per million tokens written"
    )

    @property
    def endpoint(self) -> dict[str, Any]:
        """What is said about servers, in place of what a model card says: fields of `EndpointOptions`."""
        prices = {"input": self.price_input, "output": self.price_output}
        given: dict[str, Any] = {
            "base_url": self.base_url,
            "key_variable": self.key_variable,
            "concurrency": self.concurrency,
            "prices": {name: price for name, price in prices.items() if price is not None} or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def questions_per_chunk(self) -> int:
        """Chunk size; part of the plan, hence independent of the machine."""
        return 32 if self.batch_size == "auto" else self.batch_size

    @property
    def sample_size(self) -> int | None:
        """How many questions to draw; None for all."""
        return PHANTOM_LIMIT if self.limit is None and self.data == "phantoms" else self.limit


def command_line(settings: RunSettings) -> str:
    """The command that makes a run with these settings, ready for a shell; defaults are left out."""
    words = ["medrobust", "run"]
    for name, field in RunSettings.model_fields.items():
        value = getattr(settings, name)
        if value == field.default and name not in ("models", "threats"):
            continue
        flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
        if isinstance(value, tuple):
            for item in value:
                words += [flag, str(item)]
        elif isinstance(value, bool):
            words.append(flag if value else f"--no-{flag.removeprefix('--')}")
        elif value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def settings_from(values: dict[str, Any], *, where: str) -> RunSettings:
    """Validate settings.

    Raises:
        InvalidInputError: with one problem per wrong or unknown key.
    """
    if problems := _no_text(values, where):
        raise InvalidInputError(problems)
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        known = ", ".join(RunSettings.model_fields)
        raise InvalidInputError(
            [
                Problem(
                    where=where,
                    what=f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}",
                    remedy=f"known settings are {known}"
                    if fault["type"] == "extra_forbidden"
                    else "correct the value",
                )
                for fault in error.errors()
            ]
        ) from error


def _no_text(values: dict[str, Any], where: str) -> list[Problem]:
    """Names of files that are no text in UTF-8: nothing could be written about them."""
    texts = [
        (name, text)
        for name, value in values.items()
        for text in (value if isinstance(value, list | tuple) else [value])
        if isinstance(text, str)
    ]
    remedy = "rename the file or folder, or make a link with a plain name"
    return [
        Problem(where, f"{name}: {text!r} is no valid UTF-8", remedy)
        for name, text in texts
        if any("\ud800" <= letter <= "\udfff" for letter in text)
    ]


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, not yet validated, so that flags can override it."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(
            [Problem(where=str(path), what=f"cannot be read: {error}", remedy="give a YAML file")]
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidInputError(
            [
                Problem(
                    where=str(path),
                    what="is not a mapping of settings",
                    remedy="write `models: [...]`, `threats: [...]`, …",
                )
            ]
        )
    return values

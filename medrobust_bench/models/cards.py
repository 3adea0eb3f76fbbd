"""Model cards: one Markdown file per model, whose YAML front matter is the registry entry.

The front matter is for the program, the body for people. Everything wrong with a card, or with a folder of
cards, is reported together, each with file, line and remedy.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from medrobust_bench.front_matter import read_document
from medrobust_bench.models.endpoint.settings import EndpointOptions, EndpointSettings
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.read_answer import read_answer
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Identity, Smoothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.models.read_answer import ReadAnswer

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Text = Annotated[str, Field(min_length=1)]


def _shortest_match(pattern: str) -> int:
    """Letters of the shortest text that a pattern may match, without trying it: a stranger's may never end."""
    (fewest, _most) = import_module("re._parser").parse(pattern).getwidth()
    return int(fewest)


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
        shortest = _shortest_match(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if not shortest:
        raise ValueError("a regular expression that matches the empty text marks nothing")
    return pattern


Pattern = Annotated[Text, AfterValidator(_regular_expression)]

ENDPOINT = "endpoint"
"""The adapter of models behind a server."""

SHIPPED = "checkpoints/"
"""How the source of a checkpoint inside the package begins."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Paper(_Section):
    """Where a model is described."""

    title: Text
    url: Annotated[str, Field(pattern=r"^https://\S+$")]


class TrainingData(_Section):
    """What a model was trained on, as far as its authors say."""

    description: Text
    trained_on_omnimedvqa: Literal[True, False, "unknown"] = Field(
        description="Whether OmniMedVQA questions or images are known to be in the training data"
    )


class FrontMatter(_Section):
    """A registry entry."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: Text
    adapter: Text = Field(
        default="huggingface",
        description="huggingface; endpoint, for a model behind a server; or the name of an entry point",
    )
    source: Text = Field(
        description="Hub id (owner/name, or owner/name/folder for one of several checkpoints), a checkpoint "
        "shipped with the package (checkpoints/…), a folder beside the card (./…), or a server's name of the model"
    )
    endpoint: EndpointOptions | None = Field(
        default=None, description="With adapter endpoint: address of the server, and how it is asked"
    )
    answers_from: EndpointSettings | None = Field(
        default=None,
        description="A server that serves the same weights and answers in their place; gradients stay local",
    )
    revision: Text | None = Field(default=None, description="Hub commit or tag; null follows the main branch")
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Digest of the loaded weights in `dtype`, compared at load"
    )
    identity: Identity | None = Field(
        default=None,
        description="Digests of what else decides the answers, compared at load; `medrobust models pin` writes them",
    )
    dtype: Dtype = Field(default="auto", description="Type of the weights, unless the user says otherwise")
    answer_mode: AnswerMode
    prompt: Annotated[str, Field(pattern=r"\{prompt\}")] | None = Field(
        default=None,
        description="Whole model input with {prompt} where question, options and instruction go; "
        "null takes the checkpoint's chat template",
    )
    instruction: Text | None = Field(
        default=None,
        description="What follows question and options in the user's turn; null takes the answer mode's",
    )
    system: Text | None = Field(default=None, description="The system turn; null: none")
    thought: Pattern | None = Field(
        default=None,
        description="Regular expression for the rationale, which is left out before an answer is read; null takes "
        "the usual tags",
    )
    answer: Pattern | None = Field(
        default=None,
        description="Regular expression for the answer: its group `answer`, else its first group, else all of it; "
        "null takes the tiers of `read_answer`, which also read where the pattern does not match",
    )
    strict: bool = Field(
        default=False, description="Accept <think>…</think><answer>B</answer> and nothing else as an answer"
    )
    stop: tuple[Text, ...] = Field(
        default=(), description="Texts that end a completion, beside the end-of-text tokens; they are kept"
    )
    max_new_tokens: PositiveInt | None = Field(
        default=None, description="Length limit of a generated completion; null takes the adapter's"
    )
    smoothing: Smoothing | None = Field(
        default=None, description="Randomized smoothing at inference: sigma, n, alpha; null: the plain model"
    )
    submitter: Annotated[str, Field(pattern=r"^[A-Za-z0-9](-?[A-Za-z0-9]){0,38}$")] | None = Field(
        default=None,
        description="GitHub account that submits results of it; models of one submitter count once in a ranking",
    )
    size: Text | None = Field(default=None, description="Number of parameters, for people: 2 M, 7 B")
    licence: Text
    paper: Paper | None = None
    training_data: TrainingData
    evaluated: bool = Field(description="Whether this project has measured the model and shows its results")

    @model_validator(mode="after")
    def _digest_needs_dtype(self) -> FrontMatter:
        if self.weights_sha256 is not None and self.dtype == "auto":
            raise ValueError("weights_sha256 holds for one dtype: give dtype as float32, bfloat16 or float16")
        return self

    @model_validator(mode="after")
    def _server_or_weights(self) -> FrontMatter:
        if self.adapter != ENDPOINT:
            if self.endpoint is not None:
                raise ValueError("endpoint is for adapter: endpoint; weights at hand may take answers_from")
            if self.answers_from is not None and self.answer_mode is AnswerMode.OPTION_TEXT:
                raise ValueError("a server does not score the texts of options: take letter or generate")
            if self.answers_from is not None and self.smoothing is not None:
                raise ValueError("answers_from is for plain models: a smoothed answer is many of them")
            return self
        given = [
            name
            for name in ("revision", "weights_sha256", "prompt", "smoothing", "answers_from")
            if getattr(self, name) is not None
        ]
        if given:
            raise ValueError(f"{', '.join(given)}: a server does not say, or does not take it")
        if self.answer_mode is AnswerMode.OPTION_TEXT:
            raise ValueError("a server does not score the texts of options: take letter or generate")
        return self

    @model_validator(mode="after")
    def _prompt_is_whole(self) -> FrontMatter:
        if self.prompt is not None and self.system is not None:
            raise ValueError("prompt is the whole model input: write the system turn into it")
        return self

    @model_validator(mode="after")
    def _strict_needs_no_patterns(self) -> FrontMatter:
        if self.strict and (self.answer is not None or self.thought is not None):
            raise ValueError("strict reads one format: remove answer and thought, or strict")
        return self


class Card(FrontMatter):
    """A registry entry with its text for people.

    A model without a card (a folder, a hub id) gets one made up on the spot: `path` is null, and `id` is what
    results call the model, of any form.
    """

    id: Text
    path: Path | None = None
    text: str = ""

    @property
    def shipped(self) -> bool:
        """Whether the checkpoint comes with the package."""
        return self.source.startswith(SHIPPED)

    def read(self, completion: str, options: Sequence[str]) -> ReadAnswer:
        """Which option a completion of this model names, see `read_answer`."""
        return read_answer(completion, options, pattern=self.answer, thought=self.thought, strict=self.strict)


def card_folder() -> Path:
    """Folder of the cards that come with the package: inside it when installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "model_cards"
    return installed if installed.is_dir() else package.parent / "model_cards"


def read_card(path: Path) -> Card:
    """Read one card.

    Raises:
        InvalidInputError: everything that is wrong with the file.
    """
    card, problems = _read(path)
    if card is None:
        raise InvalidInputError(problems)
    return card


def read_cards(folder: Path | None = None) -> dict[str, Card]:
    """Read every `*.md` of a folder (default: the shipped cards), by id in alphabetical order.

    Raises:
        InvalidInputError: everything wrong with any card, a missing folder, or an id used twice.
    """
    remedy = "reinstall medrobust-bench" if folder is None else "give a folder of model cards"
    folder = card_folder() if folder is None else folder
    if not folder.is_dir():
        raise InvalidInputError([Problem(str(folder), "is no folder of model cards", remedy)])
    cards: dict[str, Card] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.md")):
        card, found = _read(path)
        problems += found
        if card is None:
            continue
        if card.id in cards:
            what = f"id {card.id!r} is also that of {cards[card.id].path}"
            problems.append(Problem(str(path), what, "give each card its own id"))
        else:
            cards[card.id] = card
    if problems:
        raise InvalidInputError(problems)
    return dict(sorted(cards.items()))


def _read(path: Path) -> tuple[Card | None, list[Problem]]:
    document, problems = read_document(path, FrontMatter, example="model_cards/")
    if document is None:
        return None, problems
    return Card(**document.front.model_dump(), path=path, text=document.body), []

"""Model cards: one Markdown file per model, whose YAML front matter is the registry entry.

The front matter is for the program, the body for people. Everything wrong with a card, or with a folder of
cards, is reported together, each with file, line and remedy.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Smoothing
from medrobust_bench.strict_yaml import compose, load

if TYPE_CHECKING:
    from collections.abc import Iterable

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Text = Annotated[str, Field(min_length=1)]

SHIPPED = "checkpoints/"
"""How the source of a checkpoint inside the package begins."""

LARGEST_CARD = 128_000
"""Bytes of a card."""

_FENCE = "---"


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
    adapter: Text = Field(default="huggingface", description="huggingface, or the name of an entry point")
    source: Text = Field(
        description="Hub id (owner/name, or owner/name/folder for one of several checkpoints), a checkpoint "
        "shipped with the package (checkpoints/…), or a folder beside the card (./…)"
    )
    revision: Text | None = Field(default=None, description="Hub commit or tag; null follows the main branch")
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Digest of the loaded weights in `dtype`, compared at load"
    )
    dtype: Dtype = Field(default="auto", description="Type of the weights, unless the user says otherwise")
    answer_mode: AnswerMode
    prompt: Annotated[str, Field(pattern=r"\{prompt\}")] | None = Field(
        default=None,
        description="Whole model input with {prompt} where question, options and instruction go; "
        "null takes the checkpoint's chat template",
    )
    max_new_tokens: PositiveInt | None = Field(
        default=None, description="Length limit of a reasoning model's completion; null takes the adapter's"
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


@dataclass(frozen=True, slots=True)
class _Document:
    """A card's parts: front matter as YAML, the line at which it starts, and the body."""

    yaml: str
    first_line: int
    body: str


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
    where = str(path)
    try:
        if path.stat().st_size > LARGEST_CARD:
            what = f"has {path.stat().st_size} bytes, at most {LARGEST_CARD} are allowed"
            return None, [Problem(where, what, "say it more briefly")]
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(where, f"cannot be read: {error}", "give a readable UTF-8 Markdown file")]
    document = _split(content)
    if document is None:
        what = "has no front matter: YAML between two lines of ---, starting on line 1"
        return None, [Problem(where, what, "start from a card in model_cards/", row=1)]
    try:
        node, values = compose(document.yaml), load(document.yaml)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        row = None if mark is None else document.first_line + mark.line
        what = f"front matter is not valid YAML: {error.problem or error.context}"
        return None, [Problem(where, what, "correct the YAML (quote values that hold a colon)", row=row)]
    except yaml.YAMLError as error:
        return None, [Problem(where, f"front matter is not valid YAML: {error}", "correct the YAML")]
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        return None, [Problem(where, "front matter is not a list of `key: value`", "correct the YAML", row=2)]
    lines, repeated = _key_lines(node, document.first_line)
    problems = [
        Problem(where, f"key {'.'.join(key)} is given twice", "keep one of them", row=row)
        for key, row in repeated
    ]
    if not document.body.strip():
        problems.append(Problem(where, "has no text below the front matter", "say what the model is"))
    try:
        entry = FrontMatter.model_validate(values)
    except ValidationError as error:
        return None, problems + [_problem(where, details, lines) for details in error.errors()]
    if problems:
        return None, problems
    return Card(**entry.model_dump(), path=path, text=document.body.strip()), []


def _split(content: str) -> _Document | None:
    lines = content.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return None
    for index, line in enumerate(lines[1:], start=1):
        if line.rstrip() == _FENCE:
            return _Document("\n".join(lines[1:index]) + "\n", 2, "\n".join(lines[index + 1 :]))
    return None


_Key = tuple[str, ...]


def _key_lines(
    node: yaml.MappingNode, first_line: int, prefix: _Key = ()
) -> tuple[dict[_Key, int], list[tuple[_Key, int]]]:
    """Line of every key in the file, and the keys given twice (which YAML itself lets pass)."""
    lines: dict[_Key, int] = {}
    repeated: list[tuple[_Key, int]] = []
    for key_node, value_node in node.value:
        key = (*prefix, str(key_node.value))
        line = first_line + key_node.start_mark.line
        if key in lines:
            repeated.append((key, line))
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode):
            inner_lines, inner_repeated = _key_lines(value_node, first_line, key)
            lines |= inner_lines
            repeated += inner_repeated
    return lines, repeated


def _problem(where: str, details: Any, lines: dict[_Key, int]) -> Problem:
    """A pydantic error in the words of the reader of a YAML file."""
    location: _Key = tuple(str(part) for part in details["loc"])
    # A union adds its members' names to the location; the longest prefix that stands in the file is the key.
    known = next((location[:end] for end in range(len(location), 0, -1) if location[:end] in lines), ())
    name = ".".join(known or location)
    row = lines.get(known)
    match details["type"]:
        case "missing":
            return Problem(where, f"key {'.'.join(location)} is missing", "add it", row=row)
        case "extra_forbidden":
            fields = _fields(location[:-1])
            near = difflib.get_close_matches(location[-1], fields, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"remove it; known: {', '.join(fields)}"
            return Problem(where, f"key {name} is unknown", remedy, row=row)
        case _ if name:
            what = f"{name} is {repr(details['input'])[:200]}: {details['msg']}"
            return Problem(where, what, "correct the value", row=row)
        case _:
            return Problem(where, details["msg"].removeprefix("Value error, "), "correct the front matter")


def _fields(section: Iterable[str]) -> list[str]:
    """Known keys of a section of the front matter."""
    sections: dict[_Key, type[BaseModel]] = {
        (): FrontMatter,
        ("paper",): Paper,
        ("training_data",): TrainingData,
        ("smoothing",): Smoothing,
    }
    return list(sections[tuple(section)].model_fields)

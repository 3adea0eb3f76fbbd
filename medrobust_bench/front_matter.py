"""Cards: Markdown files whose YAML front matter is for the program, and whose body is for people.

Everything wrong with a card is reported together, each with file, line and remedy.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from medrobust_bench.problems import Problem
from medrobust_bench.strict_yaml import compose, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Model = TypeVar("Model", bound=BaseModel)

LARGEST_CARD = 128_000
"""Bytes of a card."""

_FENCE = "---"
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document(Generic[Model]):
    """A card that can be used.

    Attributes:
        front: its front matter.
        body: the Markdown below it.
    """

    front: Model
    body: str


def read_document(
    path: Path, model: type[Model], *, example: str
) -> tuple[Document[Model] | None, list[Problem]]:
    """Read a card.

    Args:
        path: the Markdown file.
        model: what its front matter must hold.
        example: where a reader finds one to start from, such as "model_cards/".

    Returns:
        The card, or None with everything that is wrong with it.
    """
    where = str(path)
    try:
        if path.stat().st_size > LARGEST_CARD:
            what = f"has {path.stat().st_size} bytes, at most {LARGEST_CARD} are allowed"
            return None, [Problem(where, what, "say it more briefly")]
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(where, f"cannot be read: {error}", "give a readable UTF-8 Markdown file")]
    parts = _split(content)
    if parts is None:
        what = "has no front matter: YAML between two lines of ---, starting on line 1"
        return None, [Problem(where, what, f"start from a card in {example}", row=1)]
    front, body = parts
    try:
        node, values = compose(front), load(front)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        row = None if mark is None else 2 + mark.line
        what = f"front matter is not valid YAML: {error.problem or error.context}"
        return None, [Problem(where, what, "correct the YAML (quote values that hold a colon)", row=row)]
    except yaml.YAMLError as error:
        return None, [Problem(where, f"front matter is not valid YAML: {error}", "correct the YAML")]
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        return None, [Problem(where, "front matter is not a list of `key: value`", "correct the YAML", row=2)]
    lines: dict[_Key, int] = {}
    problems = []
    for key, row in _key_lines(node):
        if key in lines:
            problems.append(
                Problem(where, f"key {'.'.join(key)} is given twice", "keep one of them", row=row)
            )
        lines[key] = row
    if not body.strip():
        problems.append(Problem(where, "has no text below the front matter", "say what it is about"))
    try:
        entry = model.model_validate(values)
    except ValidationError as error:
        return None, problems + [_problem(where, details, lines, model) for details in error.errors()]
    return (None, problems) if problems else (Document(entry, body.strip()), [])


def _split(content: str) -> tuple[str, str] | None:
    lines = content.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return None
    for index, line in enumerate(lines[1:], start=1):
        if line.rstrip() == _FENCE:
            return "\n".join(lines[1:index]) + "\n", "\n".join(lines[index + 1 :])
    return None


def _key_lines(node: yaml.MappingNode, prefix: _Key = ()) -> Iterator[tuple[_Key, int]]:
    """Every key with its line in the file; YAML itself lets a key be given twice."""
    for key_node, value_node in node.value:
        key = (*prefix, str(key_node.value))
        yield key, 2 + key_node.start_mark.line
        if isinstance(value_node, yaml.MappingNode):
            yield from _key_lines(value_node, key)


def _problem(where: str, details: Any, lines: dict[_Key, int], model: type[BaseModel]) -> Problem:
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
            fields = _fields(model, location[:-1])
            near = difflib.get_close_matches(location[-1], fields, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"remove it; known: {', '.join(fields)}"
            return Problem(where, f"key {name} is unknown", remedy, row=row)
        case _ if name:
            what = f"{name} is {repr(details['input'])[:200]}: {details['msg'].removeprefix('Value error, ')}"
            return Problem(where, what, "correct the value", row=row)
        case _:
            return Problem(where, details["msg"].removeprefix("Value error, "), "correct the front matter")


def _fields(model: type[BaseModel], section: _Key) -> list[str]:
    """Known keys of a section of the front matter."""
    for key in section:
        if key in model.model_fields:
            model = next(_models(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic models in a type such as `Paper | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)

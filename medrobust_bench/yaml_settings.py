"""A text of YAML held against a pydantic model; everything wrong with it is said together, with line and remedy."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from medrobust_bench.problems import Problem
from medrobust_bench.strict_yaml import compose, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Model = TypeVar("Model", bound=BaseModel)

_Key = tuple[str, ...]


def read_settings(
    where: str,
    text: str,
    model: type[Model],
    *,
    name: str,
    first_row: int = 1,
    change: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
) -> tuple[Model | None, list[Problem]]:
    """Read a mapping.

    Args:
        where: the file, in messages.
        text: the YAML.
        model: what it must hold.
        name: what the text is called in messages, such as "front matter".
        first_row: line of the file on which the text begins.
        change: replaces or adds values before they are checked.

    Returns:
        The model, or None, and everything that is wrong.
    """
    try:
        node, values = compose(text), load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        row = None if mark is None else first_row + mark.line
        what = f"{name} is not valid YAML: {error.problem or error.context}"
        return None, [Problem(where, what, "correct the YAML (quote values that hold a colon)", row=row)]
    except yaml.YAMLError as error:
        return None, [Problem(where, f"{name} is not valid YAML: {error}", "correct the YAML")]
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        what = f"{name} is not a list of `key: value`"
        return None, [Problem(where, what, "correct the YAML", row=first_row)]
    lines: dict[_Key, int] = {}
    problems = []
    for key, row in _key_lines(node, first_row):
        if key in lines:
            problems.append(
                Problem(where, f"key {'.'.join(key)} is given twice", "keep one of them", row=row)
            )
        lines[key] = row
    try:
        entry = model.model_validate(change(values))
    except ValidationError as error:
        return None, problems + [
            _problem(where, details, lines, model, name=name) for details in error.errors()
        ]
    return (None if problems else entry), problems


def _key_lines(node: yaml.Node, first_row: int, prefix: _Key = ()) -> Iterator[tuple[_Key, int]]:
    """Every key, and every place in a list, with its line in the file; YAML itself lets a key be given twice."""
    below: list[tuple[str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        below = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        below = [(str(place), value, value) for place, value in enumerate(node.value)]
    for name, begins, value in below:
        yield (*prefix, name), first_row + begins.start_mark.line
        yield from _key_lines(value, first_row, (*prefix, name))


def _problem(
    where: str, details: Any, lines: dict[_Key, int], model: type[BaseModel], *, name: str
) -> Problem:
    """A pydantic error in the words of the reader of a YAML file."""
    location: _Key = tuple(str(part) for part in details["loc"])
    # A union adds its members' names to the location; the longest prefix that stands in the file is the key.
    known = next((location[:end] for end in range(len(location), 0, -1) if location[:end] in lines), ())
    place = ".".join(known or location)
    row = lines.get(known)
    match details["type"]:
        case "missing":
            return Problem(where, f"key {'.'.join(location)} is missing", "add it", row=row)
        case "extra_forbidden":
            fields = _fields(model, location[:-1])
            near = difflib.get_close_matches(location[-1], fields, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"remove it; known: {', '.join(fields)}"
            return Problem(where, f"key {place} is unknown", remedy, row=row)
        case _ if place:
            what = (
                f"{place} is {repr(details['input'])[:200]}: {details['msg'].removeprefix('Value error, ')}"
            )
            return Problem(where, what, "correct the value", row=row)
        case _:
            return Problem(where, details["msg"].removeprefix("Value error, "), f"correct the {name}")


def _fields(model: type[BaseModel], section: _Key) -> list[str]:
    """Known keys of a section."""
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

"""Threats by name: the official specifications, overrides of them, and specification files."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import yaml
from pydantic import ValidationError

from medrobust_bench.problems import InvalidInputError, Problem, near
from medrobust_bench.specs.kinds import kinds, plugged_in, read_spec, spec_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medrobust_bench.specs.threat import ThreatSpec

_YAML_SUFFIXES = (".yaml", ".yml")


def official_threats() -> tuple[ThreatSpec, ...]:
    """The official specifications, by name."""
    return tuple(_validated(fields, name) for name, fields in sorted(_official_fields().items()))


def is_official(specification: ThreatSpec) -> bool:
    """Whether it is, field for field, one of the official specifications."""
    return specification in official_threats()


def load_specification(text: str) -> ThreatSpec:
    """Read what a user writes after `--threat`.

    Args:
        text: an official name ("pgd-linf"), a kind that another package brings along, or the path of a YAML file
            with the fields of a specification; each also with overrides ("pgd-linf:eps=4/255,steps=50"). An
            overridden specification is named after what differs, in the order of its fields: no number can pass
            for an official one.

    Raises:
        InvalidInputError: unknown name or key, unreadable file, or a value out of range.
    """
    base, colon, assignments = text.partition(":")
    if text.endswith(_YAML_SUFFIXES):  # such a path may contain a colon
        base, colon, assignments = text, "", ""
    fields = _read_file(Path(base)) if base.endswith(_YAML_SUFFIXES) else _read_named(base)
    if not colon:
        return _validated(fields, base)
    overrides = _parse_overrides(assignments, fields, text)
    return _overridden(fields, overrides, text)


@cache
def _official_fields() -> dict[str, dict[str, Any]]:
    files = resources.files("medrobust_bench.specs").joinpath("official").iterdir()
    all_fields = [yaml.safe_load(file.read_text("utf-8")) for file in files if file.name.endswith(".yaml")]
    return {fields["name"]: fields for fields in all_fields}


def _read_named(name: str) -> dict[str, Any]:
    official = _official_fields()
    if name in official:
        return official[name]
    if plugged_in(name) is not None or (name in kinds() and spec_class(name).shorthand is not None):
        return {"name": name, "kind": name}
    others = (kind for kind in kinds() if plugged_in(kind) or spec_class(kind).shorthand is not None)
    known = ", ".join(sorted({*official, *others}))
    remedy = f"{near(name, [*official, *kinds()])}use one of {known}, or the path of a YAML file"
    raise InvalidInputError([Problem("threat", f"no threat is called {name!r}", remedy)])


def _read_file(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            [Problem(str(path), f"cannot be read ({error})", "check the path")]
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInputError(
            [Problem(str(path), f"is not YAML ({error})", "correct the syntax")]
        ) from error
    if not isinstance(fields, dict):
        what = "does not hold the fields of one specification"
        raise InvalidInputError([Problem(str(path), what, "write name, kind and the fields of that kind")])
    name = fields.get("name")
    if isinstance(name, str):
        if ":" in name:
            what = f"name {name!r} contains a colon, which marks overridden official specifications"
            raise InvalidInputError([Problem(str(path), what, "choose a plain name")])
        if name in _official_fields() and not is_official(_validated(fields, str(path))):
            what = f"is named {name!r} but differs from the official specification of that name"
            raise InvalidInputError([Problem(str(path), what, "choose another name")])
    return fields


def _parse_overrides(assignments: str, fields: Mapping[str, Any], text: str) -> dict[str, str]:
    of_kind = _class_of(fields, text)
    scalars = [
        key
        for key, field in of_kind.model_fields.items()
        if key not in ("name", "kind") and get_origin(field.annotation) is not tuple
    ]
    overrides: dict[str, str] = {}
    problems = []
    for assignment in assignments.split(","):
        key, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals and of_kind.shorthand is not None and not overrides:
            key, equals, value = of_kind.shorthand, "=", key
        if not equals or not value:
            problems.append(Problem(text, f"{assignment!r} is no override", "write key=value,key=value"))
        elif key not in scalars:
            known = ", ".join(scalars) or "no number or name to override"
            remedy = f"{fields['name']} has {known}; write anything else into a YAML file"
            problems.append(Problem(text, f"{key!r} cannot be overridden", remedy))
        elif key in overrides:
            problems.append(Problem(text, f"{key!r} is given twice", "give it once"))
        else:
            overrides[key] = value
    if problems:
        raise InvalidInputError(problems)
    return {key: overrides[key] for key in scalars if key in overrides}


def _overridden(fields: Mapping[str, Any], overrides: dict[str, str], text: str) -> ThreatSpec:
    """Apply overrides, leave out those that change nothing, and name the result canonically."""
    specification = _validated({**fields, **overrides}, text)
    for key in list(overrides):
        fewer = {other: value for other, value in overrides.items() if other != key}
        if not _differs({**fields, **fewer}, specification):
            overrides = fewer
    if not overrides:
        return specification
    written = overrides | specification.model_dump(mode="json")  # in which what is usual may go unmentioned
    bare = specification.shorthand
    suffix = ",".join(f"{written[key]}" if key == bare else f"{key}={written[key]}" for key in overrides)
    return specification.model_copy(update={"name": f"{specification.name}:{suffix}"})


def _differs(fields: Mapping[str, Any], specification: ThreatSpec) -> bool:
    """Whether fields make another specification, or none at all."""
    try:
        return read_spec(fields) != specification
    except ValueError:
        return True


def _validated(fields: Mapping[str, Any], where: str) -> ThreatSpec:
    try:
        return _class_of(fields, where).model_validate(dict(fields))
    except ValidationError as error:
        raise InvalidInputError([_problem(detail, where) for detail in error.errors()]) from error


def _class_of(fields: Mapping[str, Any], where: str) -> type[ThreatSpec]:
    try:
        return spec_class(fields.get("kind"))
    except ValueError as error:
        remedy = f"use one of {', '.join(kinds())}, or install the package that brings it along"
        what = f"kind {fields.get('kind')!r} is unknown"
        raise InvalidInputError([Problem(where, what, remedy)]) from error


def _problem(detail: Any, where: str) -> Problem:
    """A validation error in the reader's words."""
    key = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return Problem(where, f"unknown key {key!r}", "remove it")
        case "missing":
            return Problem(where, f"{key!r} is missing", "add it")
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            return Problem(
                where, f"{key}: {message}" if key else message, f"got {detail['input']!r}; correct it"
            )

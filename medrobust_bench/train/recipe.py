"""Reading a recipe: a YAML file of settings, or the name of a shipped one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

RECIPES = Path(__file__).parent / "recipes"

SettingsT = TypeVar("SettingsT", bound=BaseModel)


def shipped(kind: str) -> dict[str, Path]:
    """The shipped recipes of a kind ("rl", "at_sft", "accelerate") by name."""
    return {path.stem: path for path in sorted((RECIPES / kind).glob("*.yaml"))}


def read_settings(
    recipe: str, schema: type[SettingsT], *, kind: str, overrides: Mapping[str, object], see: str
) -> SettingsT:
    """Read a recipe.

    Args:
        recipe: path of a YAML file, or the name of a shipped recipe.
        schema: what it has to satisfy.
        kind: which shipped recipes the name is looked up in.
        overrides: top-level settings that replace those of the file.
        see: the document that explains the settings.

    Raises:
        InvalidInputError: no such recipe, not YAML, unknown or impossible settings; all of them together.
    """
    known = shipped(kind)
    path = known.get(recipe, Path(recipe))
    if not path.is_file():
        remedy = f"give a YAML file or one of: {', '.join(known)}"
        raise InvalidInputError([Problem(recipe, "there is no such recipe", remedy)])
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidInputError(
            [Problem(str(path), f"not valid YAML: {error}", "correct the file")]
        ) from error
    if isinstance(content, dict):
        content = {**content, **overrides}
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise InvalidInputError(
            [
                Problem(
                    f"{path}: {'.'.join(map(str, item['loc'])) or 'recipe'}",
                    item["msg"],
                    f"see {see} for the settings",
                )
                for item in error.errors()
            ]
        ) from error

"""Reading a recipe: a YAML file of settings, or the name of a shipped one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.rl_settings import RlSettings
from medrobust_bench.train.settings import RECIPE_FILE, SftSettings
from medrobust_bench.yaml_settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RECIPES = Path(__file__).parent / "recipes"

SFT_SETTINGS = "docs/training.md, and docs/at_grpo.md for attack and lora"

SettingsT = TypeVar("SettingsT", bound=BaseModel)


def shipped(kind: str) -> dict[str, Path]:
    """The shipped recipes of a kind ("sft", "rl", "accelerate") by name."""
    return {path.stem: path for path in sorted((RECIPES / kind).glob("*.yaml"))}


def read_sft_recipe(
    recipe: str, *, data: str | None = None, images: str | Path | None = None, **overrides: object
) -> SftSettings:
    """Read a recipe of supervised fine-tuning, plain or adversarial.

    Args:
        recipe: path of a YAML file, or the name of a shipped recipe.
        data: what to train on instead of the recipe's `data.source`.
        images: the folder of its images.
        overrides: top-level settings that replace those of the file.

    Raises:
        InvalidInputError: no such recipe, not YAML, unknown or impossible settings; all of them together.
    """
    place = _place(data, images)
    return _read(recipe, SftSettings, kind="sft", place=place, overrides=overrides, see=SFT_SETTINGS)


def read_rl_recipe(
    recipe: str, *, data: str | None = None, images: str | Path | None = None, **overrides: object
) -> RlSettings:
    """Read a recipe of GRPO, plain or adversarial; arguments and errors as `read_sft_recipe`."""
    place = _place(data, images)
    return _read(recipe, RlSettings, kind="rl", place=place, overrides=overrides, see="docs/at_grpo.md")


def _place(data: str | None, images: str | Path | None) -> dict[str, str | None]:
    """What replaces the recipe's place of the data: another data set does not have the images of the recipe's."""
    source = {} if data is None else {"source": data, "images": None}
    return {**source, **({} if images is None else {"images": str(images)})}


def write_recipe(settings: BaseModel, out: Path) -> None:
    """Write a recipe as it was understood, every default filled in, beside the checkpoint that it made."""
    content = settings.model_dump(mode="json", exclude_none=True)
    (out / RECIPE_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _read(
    recipe: str,
    schema: type[SettingsT],
    *,
    kind: str,
    place: Mapping[str, str | None],
    overrides: Mapping[str, object],
    see: str,
) -> SettingsT:
    known = shipped(kind)
    path = known.get(recipe, Path(recipe))
    if not path.is_file():
        remedy = f"give a YAML file or one of: {', '.join(known)}"
        raise InvalidInputError([Problem(recipe, "there is no such recipe", remedy)])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError([Problem(str(path), f"is not UTF-8: {error}", "save it as UTF-8")]) from error

    def changed(content: dict[str, Any]) -> dict[str, Any]:
        given = content.get("data") or {}
        elsewhere = {"data": {**given, **place}} if place and isinstance(given, dict) else {}
        return {**content, **overrides, **elsewhere}

    settings, problems = read_settings(str(path), text, schema, name="recipe", change=changed)
    if settings is None:
        told = [replace(problem, remedy=f"{problem.remedy}; settings: {see}") for problem in problems]
        raise InvalidInputError(told)
    return settings


def check_same_recipe(settings: BaseModel, read: Callable[[str], BaseModel], out: Path) -> None:
    """See that a training is resumed with the recipe that it was begun with, if that is known.

    Raises:
        InvalidInputError: it was another one.
    """
    begun = out / RECIPE_FILE
    if begun.is_file() and read(str(begun)) != settings:
        remedy = "resume with the recipe that it was started with"
        raise InvalidInputError([Problem(str(begun), "differs from the recipe given", remedy)])

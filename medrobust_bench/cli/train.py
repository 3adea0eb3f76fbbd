"""`medrobust train`: train models."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medrobust_bench.cli.options import images_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from medrobust_bench.train.rl_settings import RlSettings
    from medrobust_bench.train.settings import SftSettings


@click.group()
def command() -> None:
    """Train models; each recipe is one YAML file."""


def _recipe_options(function: Callable[..., None]) -> Callable[..., None]:
    """What every kind of training takes."""
    for option in (
        click.option("--resume", is_flag=True, help="Go on with the unfinished training in --out."),
        click.option("--seed", type=click.IntRange(min=0), help="Use this seed instead of the recipe's."),
        click.option("--base", help="Start from this checkpoint instead of the recipe's."),
        click.option(
            "--data",
            metavar="SOURCE",
            help="Train on this data set instead of the recipe's; whatever `medrobust run --data` takes.",
        ),
        images_option,
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of the new checkpoint; must be empty or absent, but to resume.  "
            "[default: runs/<name of the recipe>]",
        ),
        click.argument("recipe"),
    ):
        function = option(function)
    return function


@command.command()
@_recipe_options
def sft(recipe: str, out: Path | None, resume: bool, **overrides: object) -> None:
    """Supervised fine-tuning of a vision-language model on multiple-choice questions.

    RECIPE is a YAML file, or the name of a shipped one: tiny-sft-start, tiny-sft-reasoning, tiny-sft-letter,
    tiny-noise-reasoning; tiny-relearn, to try it, takes three minutes. Under accelerate or torchrun, start it as
    `python -m medrobust_bench train sft RECIPE`.
    """
    from medrobust_bench.train.recipe import read_sft_recipe

    settings = read_sft_recipe(recipe, **_given(overrides))
    if settings.attack is not None:
        raise _misplaced(recipe, "has an attack", "use `medrobust train at-sft`")
    _fine_tune(settings, out or Path("runs") / Path(recipe).stem, resume)


@command.command("at-sft")
@_recipe_options
def at_sft(recipe: str, out: Path | None, resume: bool, **overrides: object) -> None:
    """Adversarial fine-tuning: supervised learning on attacked images.

    RECIPE is a YAML file, or the name of a shipped one (see docs/at_grpo.md).
    """
    from medrobust_bench.train.recipe import read_sft_recipe

    settings = read_sft_recipe(recipe, **_given(overrides))
    if settings.attack is None:
        raise _misplaced(recipe, "has no attack", "add an attack, or use `medrobust train sft`")
    _fine_tune(settings, out or Path("runs") / Path(recipe).stem, resume)


def _reinforcement_options(function: Callable[..., None]) -> Callable[..., None]:
    """What `at-grpo` and `grpo` take besides."""
    for option in (
        click.option("--use-vllm", is_flag=True, help="Let vLLM generate the rollouts (needs a GPU)."),
        click.option(
            "--steps", type=click.IntRange(min=1), help="Train for this many steps instead of the recipe's."
        ),
    ):
        function = option(function)
    return _recipe_options(function)


@command.command("at-grpo")
@_reinforcement_options
def at_grpo(recipe: str, out: Path | None, resume: bool, use_vllm: bool, **overrides: object) -> None:
    """Adversarial GRPO: reinforcement on images that an inner attack has changed.

    RECIPE is a YAML file, or the name of a shipped one (see docs/at_grpo.md). Under accelerate or torchrun, start it
    as `python -m medrobust_bench train at-grpo RECIPE`.
    """
    from medrobust_bench.train.recipe import read_rl_recipe

    settings = read_rl_recipe(recipe, **_given(overrides))
    if settings.attack is None:
        raise _misplaced(recipe, "has no attack", "add an attack, or use `medrobust train grpo`")
    _reinforce(settings, out or Path("runs") / Path(recipe).stem, resume, use_vllm)


@command.command()
@_reinforcement_options
def grpo(recipe: str, out: Path | None, resume: bool, use_vllm: bool, **overrides: object) -> None:
    """Plain GRPO: a recipe of `at-grpo` without its attack and noise.

    The baseline of adversarial GRPO: same base, same data, same budget.
    """
    from medrobust_bench.train.recipe import read_rl_recipe

    settings = read_rl_recipe(recipe, **_given(overrides)).without_attack()
    _reinforce(settings, out or Path("runs") / f"{Path(recipe).stem}-grpo", resume, use_vllm)


def _fine_tune(settings: SftSettings, target: Path, resume: bool) -> None:
    with _checkpoint(target, resume):
        from medrobust_bench.train.sft import fine_tune

        fine_tune(settings, target, resume=resume, report=click.echo)


def _reinforce(settings: RlSettings, target: Path, resume: bool, use_vllm: bool) -> None:
    with _checkpoint(target, resume):
        from medrobust_bench.train.reinforcement import reinforce

        reinforce(settings, target, resume=resume, use_vllm=use_vllm, report=click.echo)


@contextmanager
def _checkpoint(target: Path, resume: bool) -> Iterator[None]:
    """Around a training: refuse a folder in use before it, say where the checkpoint is after it."""
    first = os.environ.get("RANK", "0") == "0"
    if first and not resume:  # other processes may come when the first has begun to write
        _require_empty(target)
    yield
    if first:
        click.echo(f"Checkpoint written to {target}")


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if value is not None}


def _misplaced(recipe: str, what: str, remedy: str) -> Exception:
    from medrobust_bench.problems import InvalidInputError, Problem

    return InvalidInputError([Problem(recipe, what, remedy)])


def _require_empty(target: Path) -> None:
    from medrobust_bench.problems import InvalidInputError, Problem

    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(
            [
                Problem(
                    str(target),
                    "already holds something",
                    "give another --out folder, or --resume what it holds",
                )
            ]
        )


@command.command()
@click.argument(
    "checkpoints", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Picture to write."
)
def curve(checkpoints: tuple[Path, ...], out: Path) -> None:
    """Draw loss and validation accuracy of trained CHECKPOINTS."""
    from medrobust_bench.train.curve import plot_curves

    plot_curves(checkpoints, out)
    click.echo(f"Picture written to {out}")

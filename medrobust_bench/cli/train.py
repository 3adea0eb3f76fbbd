"""`medrobust train`: train models."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Train models; each recipe is one YAML file."""


@command.command()
@click.argument("recipe")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the new checkpoint; must be empty or absent.  [default: runs/<name of the recipe>]",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Train for this many steps instead of the recipe's."
)
@click.option("--seed", type=click.IntRange(min=0), help="Use this seed instead of the recipe's.")
def sft(recipe: str, out: Path | None, steps: int | None, seed: int | None) -> None:
    """Supervised fine-tuning of a vision-language model on multiple-choice questions.

    RECIPE is a YAML file, or the name of a shipped one: tiny-sft-reasoning, tiny-sft-letter.
    """
    from medrobust_bench.problems import InvalidInputError, Problem
    from medrobust_bench.train.settings import read_recipe

    overrides = {name: value for name, value in {"steps": steps, "seed": seed}.items() if value is not None}
    settings = read_recipe(recipe).model_copy(update=overrides)
    target = out or Path("runs") / Path(recipe).stem
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(
            [Problem(str(target), "already holds something", "give another --out folder")]
        )

    from medrobust_bench.train.sft import fine_tune

    fine_tune(settings, target, report=click.echo)
    click.echo(f"Checkpoint written to {target}")


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

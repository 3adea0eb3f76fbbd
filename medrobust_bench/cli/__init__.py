"""The `medrobust` command: a thin layer over the library, one file per command, imported only when called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from medrobust_bench import __version__
from medrobust_bench.cli.ending import ending, speak_any_encoding
from medrobust_bench.threads import COMPUTING, settle_threads

COMMANDS = {
    "run": "Measure a model's robust accuracy; with no arguments, the shipped models on phantoms.",
    "show": "Show the tables of a finished run.",
    "report": "Write a finished run as one self-contained HTML page.",
    "compare": "Compare two runs question by question; fail when robustness regressed.",
    "audit": "Examine a run's attacks with the model at hand: can their robust accuracy be believed?",
    "replay": "Recount a run's robust accuracy from its stored images alone; fail where it disagrees.",
    "transfer": "Put the images that broke a run's models to another model.",
    "submit": "Turn a finished run into submissions to the leaderboard.",
    "verify": "Check submissions: every number, image and certificate; on a CPU, without attacking.",
    "card": "Print a model card's robustness section, as the Hugging Face hub reads it.",
    "models": "List the model registry, or check that a model can be attacked.",
    "threats": "List the official threats.",
    "certify": "Check, tabulate and plot certificates, without the model.",
    "data": "Check or fetch a data set.",
    "train": "Train the shipped models from scratch.",
    "leaderboard": "Build the leaderboard tables from results.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when it is called, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Command names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `medrobust_bench.cli.<name>` and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in COMPUTING:
            settle_threads()  # before the command imports torch
        command: click.Command = importlib.import_module(f"medrobust_bench.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list for `--help`, from `COMMANDS` alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run; see `ending` for what becomes of errors."""
        with ending():
            return super().invoke(ctx)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run from the command line."""
        speak_any_encoding()
        return super().main(*args, **kwargs)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="medrobust")
def main() -> None:
    """How often does a medical vision-language model still answer right when somebody tampers with the image?"""

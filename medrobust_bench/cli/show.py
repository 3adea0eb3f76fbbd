"""`medrobust show`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("show")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown instead.")
def command(run: Path, as_markdown: bool) -> None:
    """Show the tables of a finished run: accuracy, by modality, cost, and the command that makes it."""
    from rich.console import Console

    from medrobust_bench.records.suite import is_suite
    from medrobust_bench.reports.macro import print_averages
    from medrobust_bench.reports.tables import cost_grid, print_run, run_table
    from medrobust_bench.runs.run import load_run
    from medrobust_bench.runs.suite import load_suite
    from medrobust_bench.specs.settings import command_line

    console = Console(highlight=False)
    if is_suite(run):
        suite = load_suite(run)
        if as_markdown:
            click.echo(suite.table(), nl=False)
            return
        print_averages(suite.macro_averages())
        shown = list(suite.runs.values())
    else:
        shown = [load_run(run)]
        if as_markdown:
            click.echo(run_table(shown[0].results), nl=False)
            return
    for finished in shown:
        print_run(finished.results)
        console.print(cost_grid(finished.results).rich())
        console.print(command_line(finished.record.plan.settings), markup=False, soft_wrap=True)

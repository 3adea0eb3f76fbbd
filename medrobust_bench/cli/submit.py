"""`medrobust submit`."""

from __future__ import annotations

from pathlib import Path

import click

from medrobust_bench.cli.options import OWN_CARDS, cards_option, registry


@click.command("submit")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", "models", multiple=True, metavar="ID", help="Only this model; repeatable.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboards/submissions"),
    show_default=True,
    help="Folder of submissions.",
)
@cards_option
@click.option(
    "--push-to-hub",
    "hub",
    metavar="OWNER/DATASET",
    help="Upload the evidence to a data set on the Hugging Face hub instead of writing it beside.",
)
def command(run: Path, models: tuple[str, ...], out: Path, cards: Path | None, hub: str | None) -> None:
    """Write submissions of a finished RUN: <data>/<threat>/<model>.json and its evidence.

    A model without a card gets a draft of one. Then `medrobust verify` them and open a pull request; see
    CONTRIBUTING.md. Evidence holds images of the data set: what its licence does not let you pass on belongs into a
    private data set on the hub.
    """
    from medrobust_bench.leaderboard.draft import name_on_board, write_draft
    from medrobust_bench.leaderboard.submit import submit
    from medrobust_bench.runs.suite import load_runs

    finished = load_runs(run)
    folder = cards or OWN_CARDS
    known = registry(folder if folder.is_dir() else None)
    used = {name: model for one in finished for name, model in one.record.models.items()}
    names = {name: name_on_board(name, known) for name in used}
    for one in finished:
        for path in submit(one, out, models=models, names=names, hub=hub):
            click.echo(path)
    for name, model in used.items():
        if (not models or name in models) and names[name] not in known:
            draft = write_draft(model, folder)
            if draft is not None:
                click.echo(f"{draft}  a draft: complete it")
    beside = "" if folder == OWN_CARDS else f" --cards {folder}"
    click.echo(f"\nCheck with:\n  medrobust verify {out}{beside}")

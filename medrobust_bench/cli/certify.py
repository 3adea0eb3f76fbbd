"""`medrobust certify`: check, tabulate and plot published certificates; none of it needs the model."""

from __future__ import annotations

from pathlib import Path

import click

_FILES = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="FILE..."
)


@click.group()
def command() -> None:
    """Check, tabulate and plot certificates, without the model.

    Certificates are made by `medrobust run --threat certified-l2`. FILE is a run folder, or a tab-separated log
    with the columns `idx label predict radius correct time`.
    """


@command.command()
@_FILES
@click.option("--n", type=click.IntRange(min=1), help="Declared estimation draws.")
@click.option("--n0", type=click.IntRange(min=0), help="Declared selection draws.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Declared failure probability per question.",
)
@click.option(
    "--sigma", type=click.FloatRange(0, min_open=True), help="Declared standard deviation of the noise."
)
@click.option("--expect", type=click.IntRange(min=1), help="Number of questions of the declared split.")
@click.option("--classes", type=click.IntRange(min=2), help="Number of classes, of a log.")
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="RUN",
    help="Run folder with attacks on the same smoothed model: no witness may lie inside a certified ball.",
)
def check(
    files: tuple[Path, ...],
    n: int | None,
    n0: int | None,
    alpha: float | None,
    sigma: float | None,
    expect: int | None,
    classes: int | None,
    against: Path | None,
) -> None:
    """Find radii, counts and rows that cannot be right.

    FILE is a run folder, a journal.jsonl, a result file, or a tab-separated log; a log carries no counts, so it
    needs --n, --alpha and --sigma. Exit code 1 where anything is found, and where radii are rounded so coarsely that
    none of them could be checked.
    """
    from medrobust_bench.certify.check import check_path, unchecked
    from medrobust_bench.certify.fault import Declared

    declared = Declared(n=n, n0=n0, alpha=alpha, sigma=sigma, expect=expect, classes=classes)
    found = {path: check_path(path, declared, against=against) for path in files}
    hidden = {path: unchecked(path, declared) for path in files}
    for path, faults in found.items():
        unseen = hidden[path]
        nothing = unseen is not None and unseen.everything
        verdict = (
            "nothing found, and nothing could be checked" if nothing and not faults else _verdict(len(faults))
        )
        click.secho(f"{path}: {verdict}", fg="red" if faults else "green" if unseen is None else "yellow")
        for fault in faults:
            click.echo(f"  {fault}")
        if unseen is not None:
            click.echo(f"  {unseen}")
    if any(found.values()) or any(one is not None and one.everything for one in hidden.values()):
        raise click.exceptions.Exit(1)


@command.command()
@_FILES
@click.option("--radii", metavar="R,R,…", help="Columns; by default 0 and the radii that were decided.")
@click.option("--by-modality", is_flag=True, help="One row per imaging modality as well.")
def table(files: tuple[Path, ...], radii: str | None, by_modality: bool) -> None:
    """Print `certified accuracy at r` as Markdown, as papers do."""
    from medrobust_bench.certify.curve import accuracy_grid, read_curves, usual_radii

    curves = [curve for path in files for curve in read_curves(path, by_modality=by_modality)]
    columns = usual_radii(curves) if radii is None else _radii(radii)
    click.echo(accuracy_grid(curves, columns).markdown())


@command.command()
@_FILES
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("certified.png"), show_default=True
)
@click.option("--by-modality", is_flag=True, help="One curve per imaging modality as well.")
def plot(files: tuple[Path, ...], out: Path, by_modality: bool) -> None:
    """Draw certified accuracy over the radius, and what share is not certified."""
    from medrobust_bench.certify.curve import figure, read_curves

    curves = [curve for path in files for curve in read_curves(path, by_modality=by_modality)]
    drawing = figure(curves)
    supported = drawing.canvas.get_supported_filetypes()
    if out.suffix.removeprefix(".") not in supported:
        raise click.BadParameter(
            f"the file type is one of {', '.join(sorted(supported))}", param_hint="--out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(out, dpi=150)
    click.echo(out)


def _verdict(faults: int) -> str:
    return f"{faults} finding{'s' if faults > 1 else ''}" if faults else "nothing found"


def _radii(text: str) -> list[float]:
    try:
        radii = sorted(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            "write numbers with commas between them: 0,0.25,0.5", param_hint="--radii"
        ) from None
    if radii[0] < 0:
        raise click.BadParameter("a radius is not negative", param_hint="--radii")
    return radii

"""How often images that break one model break another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.reports.grid import MISSING, Grid, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Estimate
    from medrobust_bench.records.transfer import Transfer

_HEADER = ("Threat", "Transferred", "Rate %", "95 % interval", "Clean %", "Transfer %")

LEGEND = (
    "Transferred: of the questions that both models answer right on the clean image, and whose image broke the source, "
    "those whose image breaks the target as well, and their share with its 95 % interval by image (or patient, where "
    "known). Clean and transfer: the target's accuracy on all questions, on the clean images, and "
    "where each that broke the source takes its place: an upper bound on its robust accuracy."
)


def transfer_grids(transfers: Sequence[Transfer]) -> list[Grid]:
    """One table per source, one row per attack.

    Args:
        transfers: to one target.
    """
    by_source: dict[str, list[Transfer]] = {}
    for transfer in transfers:
        by_source.setdefault(transfer.source.id, []).append(transfer)
    return [_grid(some) for some in by_source.values()]


def transfer_page(transfers: Sequence[Transfer]) -> str:
    """The tables as Markdown, with how to read them."""
    tables = (f"**{grid.title}**\n\n{grid.markdown()}\n" for grid in transfer_grids(transfers))
    return "\n".join((*tables, f"{LEGEND}\n"))


def _grid(transfers: Sequence[Transfer]) -> Grid:
    first = transfers[0]
    synthetic = ", synthetic" if first.data.synthetic else ""
    title = (
        f"From {first.source.id} to {first.target.id}: {first.data.name} ({first.data.split}{synthetic}), "
        f"n {len(first.outcomes)}, both right {first.both_right}"
    )
    rows = tuple(
        (
            transfer.threat.name,
            f"{transfer.transferred} of {transfer.broken}",
            *_told(transfer.rate),
            percent(transfer.target_clean.value),
            percent(transfer.target_accuracy.value),
        )
        for transfer in transfers
    )
    return Grid(title, _HEADER, rows, names=1)


def _told(rate: Estimate | None) -> tuple[str, str]:
    """A share and its interval."""
    return (
        (MISSING, MISSING)
        if rate is None
        else (percent(rate.value), f"{percent(rate.low)}–{percent(rate.high)}")
    )

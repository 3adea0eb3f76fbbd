"""How often images that break one model break another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.reports.grid import MISSING, Grid, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records.transfer import Transfer

_HEADER = (
    "Source",
    "Threat",
    "Both right",
    "Source broken",
    "Target broken too",
    "Transfer rate %",
    "Target clean %",
    "Target under these images %",
)


def transfer_grid(transfers: Sequence[Transfer]) -> Grid:
    """One row per attack of the run.

    Args:
        transfers: to one target, at least one.
    """
    data = transfers[0].data
    rows = tuple(
        (
            transfer.source.id,
            transfer.threat.name,
            f"{transfer.both_right} of {len(transfer.outcomes)}",
            str(transfer.broken),
            str(transfer.transferred),
            MISSING if (rate := transfer.rate) is None else with_interval(rate),
            with_interval(transfer.target_clean),
            with_interval(transfer.target_accuracy),
        )
        for transfer in transfers
    )
    synthetic = ", synthetic" if data.synthetic else ""
    return Grid(
        f"To {transfers[0].target.id}: {data.name} ({data.split}{synthetic}), n {data.n}",
        _HEADER,
        rows,
        names=2,
    )


def transfer_page(transfers: Sequence[Transfer]) -> str:
    """The table as Markdown, with how to read it."""
    grid = transfer_grid(transfers)
    return (
        f"**{grid.title}**\n\n{grid.markdown()}\n\n"
        "Both right: questions whose clean image both models answer right. Of those whose source was broken, the "
        "transfer rate is the share whose image breaks the target as well. The last column counts all questions: right "
        "on the clean image, and on the image that broke the source where there is one; an upper bound on the target's "
        "robust accuracy. 95 % intervals by image (or patient, where known).\n"
    )

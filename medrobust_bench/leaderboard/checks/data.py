"""The questions of a submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.case import Claim


def selection(claim: Claim) -> list[Fault]:
    """The data set, opened anew, gives the questions that the result names."""
    data, seed, dataset = claim.entry.result.data, claim.entry.selection.seed, claim.dataset
    pairs = [
        ("number of questions", data.n, len(dataset.questions)),
        ("split", data.split, dataset.split),
        ("digest", data.digest, dataset.digest()),
        ("synthetic", data.synthetic, dataset.synthetic),
        ("number of rows left out", len(data.skipped), len(dataset.skipped)),
        ("seed", claim.entry.result.seed, seed),
    ]
    return [
        Fault("data", f"{what} is {said}, the selection gives {found}")
        for what, said, found in pairs
        if said != found
    ]

"""The questions of a submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.data.baselines import without_images

if TYPE_CHECKING:
    from medrobust_bench.leaderboard.case import Claim
    from medrobust_bench.records import WithoutImages


def given_away(claim: Claim) -> list[Fault]:
    """What the questions give away without images is what the data set, opened anew, gives away."""
    told = claim.entry.result.without_images
    found = None if claim.first_version else without_images(claim.dataset)
    if told == found:
        return []
    return [Fault("data", f"without images: {_words(told)}; the selection gives {_words(found)}")]


def _words(found: WithoutImages | None) -> str:
    if found is None:
        return "nothing"
    return ", ".join(f"{name} {value}" for name, value in found.model_dump().items())


def selection(claim: Claim) -> list[Fault]:
    """The data set, opened anew, gives the questions that the result names."""
    data, seed, dataset = claim.entry.result.data, claim.entry.selection.seed, claim.dataset
    pairs = [
        ("number of questions", data.n, len(dataset.questions)),
        ("split", data.split, dataset.split),
        ("digest", data.digest, dataset.digest()),
        ("synthetic", data.synthetic, dataset.synthetic),
        ("number of rows left out", len(data.skipped), len(dataset.skipped)),
        ("number of patients or studies", data.groups, dataset.groups()),
        ("preparation of images", data.preparation, dataset.preparation()),
        ("seed", claim.entry.result.seed, seed),
        ("number of questions that failed", sum(claim.entry.result.failed.values()), 0),
    ]
    return [
        Fault("data", f"{what} is {said}, the selection gives {found}")
        for what, said, found in pairs
        if said != found
    ]

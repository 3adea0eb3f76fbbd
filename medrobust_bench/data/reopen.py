"""The questions of a run that was made earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.source import open_data, sample
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.records.run import Plan


def reopen(plan: Plan, *, data: str | None = None) -> Dataset:
    """The questions that a plan asks, opened again and held against the digest in it.

    Args:
        plan: of the run.
        data: where the data set is now; by default where it was.

    Raises:
        InvalidInputError: the data set is not there any more, or its questions have changed.
    """
    settings = plan.settings
    source = settings.data if data is None else data
    dataset = open_data(
        source, split=settings.split, skip_invalid=settings.skip_invalid, modalities=settings.modalities
    )
    if settings.sample_size is not None:
        dataset = sample(dataset, settings.sample_size, seed=settings.seed)
    if dataset.digest() != plan.data.digest:
        what = f"does not hold the questions of the run: digest {dataset.digest()[:12]}, not {plan.data.digest[:12]}"
        raise InvalidInputError([Problem(source, what, "name the data set that the run was made on")])
    return dataset

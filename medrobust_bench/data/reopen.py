"""The questions that a run's settings ask for, and those of a run that was made earlier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.records.run import Plan
    from medrobust_bench.specs.settings import RunSettings


def open_asked(
    settings: RunSettings,
    *,
    split: str | None = None,
    source: str | None = None,
    limit: int | None = None,
) -> Dataset:
    """The data set of a run's settings; see `open_data`.

    Args:
        settings: name it.
        split: instead of the settings'.
        source: where it is now, if not where the settings say.
        limit: size of a sample by the settings' seed; None: whole.
    """
    return open_data(
        settings.data if source is None else source,
        split=settings.split if split is None else split,
        skip_invalid=settings.skip_invalid,
        modalities=settings.modalities,
        images=None if settings.images is None or source is not None else Path(settings.images),
        limit=limit,
        sample_seed=settings.seed,
    )


def reopen(plan: Plan, *, data: str | None = None) -> Dataset:
    """The questions that a plan asks, opened again and held against the digest in it.

    Args:
        plan: of the run.
        data: where the data set is now; by default where it was.

    Raises:
        InvalidInputError: the data set is not there any more, or its questions have changed.
    """
    settings = plan.settings
    dataset = open_asked(settings, source=data, limit=settings.sample_size)
    if dataset.digest() != plan.data.digest:
        what = f"does not hold the questions of the run: digest {dataset.digest()[:12]}, not {plan.data.digest[:12]}"
        raise InvalidInputError(
            [Problem(data or settings.data, what, "name the data set that the run was made on")]
        )
    return dataset

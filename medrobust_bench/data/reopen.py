"""The questions that a run's settings ask for, and those of a run that was made earlier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.records.run import Plan
    from medrobust_bench.specs.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a data set is on this machine.

    Attributes:
        source: what `open_data` takes.
        images: the folder of its images, where it is not found.
    """

    source: str
    images: Path | None = None


def open_asked(
    settings: RunSettings, *, split: str | None = None, place: Place | None = None, limit: int | None = None
) -> Dataset:
    """The data set of a run's settings; see `open_data`.

    Args:
        settings: name it.
        split: instead of the settings'.
        place: where it is now, if not where the settings say.
        limit: size of a sample by the settings' seed; None: whole.
    """
    if place is None:
        place = Place(settings.data, None if settings.images is None else Path(settings.images))
    return open_data(
        place.source,
        split=settings.split if split is None else split,
        skip_invalid=settings.skip_invalid,
        modalities=settings.modalities,
        images=place.images,
        limit=limit,
        sample_seed=settings.seed,
    )


def reopen(plan: Plan, *, data: str | None = None, images: str | Path | None = None) -> Dataset:
    """The questions that a plan asks, opened again and held against the digest in it.

    Args:
        plan: of the run.
        data: where the data set is now; by default where it was.
        images: the folder of its images now; by default where it was, or beside `data` where that is given.

    Raises:
        InvalidInputError: the data set is not there any more, or its questions have changed.
    """
    settings = plan.settings
    place = None
    if data is not None or images is not None:
        place = Place(settings.data if data is None else data, None if images is None else Path(images))
    dataset = open_asked(settings, place=place, limit=settings.sample_size)
    if dataset.digest() != plan.data.digest:
        what = f"does not hold the questions of the run: digest {dataset.digest()[:12]}, not {plan.data.digest[:12]}"
        raise InvalidInputError(
            [Problem(data or settings.data, what, "name the data set that the run was made on")]
        )
    return dataset

"""Readers: every kind of data set is one object that recognises it and reads it.

A reader is built in, brought along by another package (an entry point of the group `medrobust_bench.data` that names
the object), or handed to `open_data` and `evaluate` as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from medrobust_bench import extensions
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.data.rows import Reading

DATA_GROUP = "medrobust_bench.data"

_BUILT_IN = (
    "medrobust_bench.data.phantoms.reader:PHANTOMS",
    "medrobust_bench.data.omnimedvqa:OMNIMEDVQA",
    "medrobust_bench.data.split_files:SPLIT_FILES",
    "medrobust_bench.data.card_reader:CARDS",
    "medrobust_bench.data.own_tables:OWN_TABLES",
)
"""Where the built-in readers are; imported when somebody asks for a data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a reader.

    Attributes:
        split: "train", "validation", "test" or "all". A reader whose publisher fixed the splits reads this one; all
            others read everything, and the split follows from the images.
        images: the folder of the images, or the one that holds it, where a user named one.
        seed: seed of what a reader renders.
        download: whether files that are not on this machine may be fetched.
    """

    split: str = "test"
    images: Path | None = None
    seed: int = 0
    download: bool = True


@runtime_checkable
class Reader(Protocol):
    """One kind of data set.

    A reader looks at text alone: it locates images and leaves them closed. Wrong rows are problems in its `Reading`,
    not exceptions, so that all of them are reported together.
    """

    @property
    def name(self) -> str:
        """What to call this kind of data set in messages, e.g. "omnimedvqa"."""
        ...

    @property
    def reads(self) -> str:
        """What it reads, as a noun phrase: "a folder that holds `QA_information`"."""
        ...

    def recognises(self, source: str) -> bool:
        """Whether a source (a path, a name) is one of its data sets; cheap, and never an exception."""
        ...

    def read(self, source: str, request: Request) -> Reading:
        """The questions of a source.

        Raises:
            InvalidInputError: nothing of it can be read.
        """
        ...


def readers() -> tuple[Reader, ...]:
    """The readers that are built in, and those of other packages.

    Raises:
        InvalidInputError: an entry point does not load, or names no reader.
    """
    found: list[Reader] = []
    for place in _BUILT_IN:
        module, _, name = place.partition(":")
        found.append(getattr(import_module(module), name))
    for added in extensions.extensions(DATA_GROUP):
        if not isinstance(added.value, Reader) or isinstance(added.value, type):
            remedy = "name an object with name, reads, recognises and read"
            raise added.refused(f"names {added.value!r}, which is no reader of data", remedy)
        found.append(added.value)
    return tuple(found)


def reader_of(source: str) -> Reader:
    """The one reader that recognises a source.

    Raises:
        InvalidInputError: none does, or several do.
    """
    known = readers()
    fitting = [reader for reader in known if reader.recognises(source)]
    # Whoever installed a reader for such files means it: it goes before the built-in ones, which are more general.
    fitting = [reader for reader in fitting if reader in known[len(_BUILT_IN) :]] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        what = f"is recognised by {len(fitting)} readers: {', '.join(reader.name for reader in fitting)}"
        raise InvalidInputError(
            [Problem(source, what, "remove what makes it look like several kinds of data set")]
        )
    if Path(source).exists():
        what, remedy = "is no data set", "name "
    else:
        what, remedy = "does not exist, and no data set has that name", "check the path, or name "
    remedy += "; or ".join(reader.reads for reader in known)
    raise InvalidInputError([Problem(source, what, remedy)])

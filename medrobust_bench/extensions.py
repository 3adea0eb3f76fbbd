"""What other packages add to this one: the objects that their entry points name.

A package announces an object in its own `pyproject.toml`, in one of the groups `medrobust_bench.threats`, `.data`,
`.metrics`, `.adapters` and `.corruptions`; the module that owns the noun says what the object has to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from medrobust_bench.problems import InvalidInputError, Problem


@dataclass(frozen=True, slots=True)
class Extension:
    """An object of another package.

    Attributes:
        name: what the entry point is called.
        where: the entry point and its package, for messages.
        value: the object.
    """

    name: str
    where: str
    value: object

    def refused(self, what: str, remedy: str) -> InvalidInputError:
        """The error that tells why this object cannot be used."""
        return InvalidInputError([Problem(self.where, what, remedy)])


def names(group: str) -> list[str]:
    """What a group of entry points holds here, in the order of the alphabet; nothing is imported."""
    return sorted(entry_points(group=group).names)


def extension(group: str, name: str) -> Extension | None:
    """The object of a name; None where no package adds one.

    Raises:
        InvalidInputError: it does not load, or two packages add one.
    """
    points = sorted(entry_points(group=group, name=name), key=lambda point: point.value)
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        what = f"is added by {' and by '.join(_owner(point) for point in points)}"
        raise InvalidInputError([Problem(f"{group} {name!r}", what, "remove all but one of them")])
    return _loaded(points[0])


def extensions(group: str) -> list[Extension]:
    """All objects of a group, by name.

    Raises:
        InvalidInputError: one does not load, or two have one name.
    """
    found = (extension(group, name) for name in names(group))
    return [one for one in found if one is not None]


def _loaded(point: EntryPoint) -> Extension:
    where = f"entry point {point.name!r} of {_owner(point)}"
    try:
        return Extension(point.name, where, point.load())
    except (ImportError, AttributeError) as error:
        remedy = "repair or remove the package that brings it along"
        raise InvalidInputError([Problem(where, f"does not load: {error}", remedy)]) from error


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value

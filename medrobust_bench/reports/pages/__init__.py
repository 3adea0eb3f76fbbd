"""What all HTML pages have in common: layout, style, and escaping that is always on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medrobust_bench.problems import plain
from medrobust_bench.reports.grid import percent, with_interval

if TYPE_CHECKING:
    from jinja2 import BaseLoader


def _without_steering(value: object) -> object:
    """Texts of data sets, models and submitters turn nothing round; what is HTML already was made here."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def environment(package: str = "medrobust_bench.reports.pages") -> Environment:
    """A Jinja environment with the shared layout.

    Args:
        package: where further templates are.
    """
    names = dict.fromkeys((package, "medrobust_bench.reports.pages"))
    loaders: list[BaseLoader] = [PackageLoader(name, "") for name in names]
    made = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_steering,
    )
    made.filters["percent"] = percent
    made.filters["interval"] = with_interval
    return made

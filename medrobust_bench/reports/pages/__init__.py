"""What all HTML pages have in common: layout, style, and escaping that is always on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from medrobust_bench.reports.grid import percent, with_interval

if TYPE_CHECKING:
    from jinja2 import BaseLoader


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
    )
    made.filters["percent"] = percent
    made.filters["interval"] = with_interval
    return made

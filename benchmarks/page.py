"""Pages of the documentation whose tables a program writes, between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_tables(page: Path, tables: Mapping[str, str]) -> None:
    """Put tables in the places of those that a page holds; all of them or, where one has no place, none.

    Raises:
        SystemExit: a name does not stand on the page once.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        text, count = re.subn(
            rf"{re.escape(start)}.*?{re.escape(end)}",
            lambda _, filled=f"{start}\n\n{table}\n\n{end}": filled,
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"{page} needs one {start} … {end}")
    page.write_text(text, encoding="utf-8")


def trainings_parser(description: str | None) -> argparse.ArgumentParser:
    """For programs that hold trainings of several seeds, and the runs that judge them, against each other."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("training", type=Path, help="folder of the trainings, RECIPE-SEED each")
    parser.add_argument(
        "evaluations", type=Path, help="folder of the runs, of the same names, and of the start's"
    )
    parser.add_argument("--print", action="store_true", help="print the tables instead of writing the page")
    return parser

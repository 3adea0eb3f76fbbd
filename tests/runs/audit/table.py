"""The tables in docs/audit.md: all checks, and the kit of broken models with what the audit says about each.

`python -m tests.runs.audit.table` writes them anew.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from medrobust_bench.runs.audit.catalogue import CHECKS
from tests.runs.audit.kit import kit

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).parents[3] / "docs" / "audit.md"


def checks_table() -> str:
    """Every check: what it asks, where it is made, who proposed it."""
    rows = [
        (check.name, check.family, check.asks, "every run" if light else "`audit`", check.source)
        for check, light in CHECKS
    ]
    return _pipe(rows, ("Check", "Family", "It asks", "Made by", "Source"))


def kit_table(verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """What the audit says about every entry of the kit.

    Args:
        verdicts: by what is wrong, the verdict of every check.
    """
    rows = []
    for case in kit():
        found = verdicts[case.what]
        named = {
            verdict: ", ".join(check for check, value in found.items() if value == verdict) or "none"
            for verdict in ("fail", "warn")
        }
        rows.append((case.what, case.flag or "none", named["fail"], named["warn"], len(found)))
    return _pipe(rows, ("What is wrong", "Its own flag", "Failed", "Warned", "Checks made"))


def page(old: str, verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """The page with its tables made anew."""
    for name, table in (("checks", checks_table()), ("kit", kit_table(verdicts))):
        block = f"<!-- {name} -->\n\n{table}\n\n<!-- end of {name} -->"
        old = re.sub(
            rf"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, block=block: block, old, flags=re.DOTALL
        )
    return old


def _pipe(rows: list[tuple[object, ...]], header: tuple[str, ...]) -> str:
    return tabulate(rows, headers=header, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {case.what: case.audit(Path(folder) / case.toy.name) for case in kit()}
    PAGE.write_text(page(PAGE.read_text(), found))

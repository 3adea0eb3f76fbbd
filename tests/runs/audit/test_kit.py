"""Every broken model raises its own flag, the honest one none, and the page says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.runs.audit.catalogue import CHECKS
from tests.runs.audit.kit import Case, kit
from tests.runs.audit.table import PAGE, checks_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", kit(), ids=lambda case: case.toy.name)
def test_it_raises_its_own_flag(case: Case, tmp_path: Path) -> None:
    verdicts = case.audit(tmp_path / "run")
    failed = [check for check, verdict in verdicts.items() if verdict == "fail"]
    if case.flag:
        assert case.flag in failed
        row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {case.what} "))
        assert case.flag in row, "python -m tests.runs.audit.table"
    else:
        assert set(verdicts.values()) == {"pass"}, verdicts
        assert len(verdicts) >= 29, "seven more are not made, as nothing is left standing"


def test_every_check_has_its_own_name_and_a_source() -> None:
    names = [check.name for check, _ in CHECKS]
    assert len(set(names)) == len(names) >= 40
    assert all(check.source and check.asks.endswith("?") for check, _ in CHECKS)


def test_the_page_lists_every_check() -> None:
    assert checks_table() in PAGE.read_text(), "python -m tests.runs.audit.table"

"""Honest submissions under threats that take no gradient, and under one patch for all images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.runs.run import load_run
from tests.leaderboard.conftest import card
from tests.leaderboard.forgery import Forgery
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.models.cards import Card

WEAK = SchooledAdapter("weak", lean=0.04)
"""Right on half of the questions, and broken now and then by little."""

THREATS = {
    "square": "square:queries=12",
    "noise": "noise:draws=3",
    "universal": "patch-universal:training=2,epochs=1",
    "suite": "corruption:jpeg,severity=5",
    "worst": "corruptions-worst:severity=5",
    "injection": "injection:queries=3",
}


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The submission files by threat. Read only."""
    root = tmp_path_factory.mktemp("searched")
    run = make_run(root / "run", WEAK, threats=tuple(THREATS.values()), limit=16)
    files = submit(load_run(run), root / "submissions")
    return dict(zip(THREATS, files, strict=True))


@pytest.fixture(scope="session")
def weak_card() -> dict[str, Card]:
    return {WEAK.name: card(WEAK)}


@pytest.fixture
def forged(searched: dict[str, Path], tmp_path: Path) -> Callable[[str], Forgery]:
    """A function that copies these submissions and opens the one under a threat for falsification."""

    def copy(threat: str) -> Forgery:
        path = searched[threat]
        return Forgery(path.parents[2], tmp_path, path.parent.name, WEAK.name)

    return copy

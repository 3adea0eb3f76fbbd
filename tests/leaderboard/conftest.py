"""Honest submissions of a toy, to be verified, tampered with, and built into tables and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.models.cards import Card, TrainingData
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.runs.run import load_run
from tests.leaderboard.forgery import Forgery
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OFFICIAL = ("pgd-linf", "certified-l2-quick", "patch")


def card(adapter: SchooledAdapter) -> Card:
    return Card(
        id=adapter.name,
        title=f"The toy {adapter.name}",
        source=f"./{adapter.name}",
        submitter="somebody",
        weights_sha256=adapter.record.weights_sha256,
        dtype="float32",
        answer_mode=AnswerMode.LETTER,
        licence="Apache-2.0",
        training_data=TrainingData(description="none", trained_on_omnimedvqa=False),
        evaluated=True,
        text="A toy.",
    )


@pytest.fixture(scope="session")
def cards() -> dict[str, Card]:
    toys = (SchooledAdapter(lean=0.5), SchooledAdapter("other", lean=0.3))
    return {toy.name: card(toy) for toy in toys}


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Submissions of two toys under two attacks and a certification, all official. Read only."""
    root = tmp_path_factory.mktemp("honest")
    for toy in (SchooledAdapter(lean=0.5), SchooledAdapter("other", lean=0.3)):
        run = make_run(root / toy.name, toy, threats=OFFICIAL, limit=24)
        submit(load_run(run), root / "submissions")
    return root / "submissions"


@pytest.fixture
def forgery(honest: Path, tmp_path: Path) -> Callable[[str], Forgery]:
    """A function that copies the honest submissions and opens the schooled toy's under a threat for falsification."""
    return lambda threat: Forgery(honest, tmp_path, threat)

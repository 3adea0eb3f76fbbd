"""What an attack says beforehand is what it does: for every kind of threat, on questions that withstand it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.attacks.plan import Planned
from medrobust_bench.data.source import open_data
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.threats import open_attack
from medrobust_bench.specs.kinds import read_spec
from tests.toy_runs import SchooledAdapter

if TYPE_CHECKING:
    from typing import Any

BALL = {"norm": "linf", "eps": "2/255"}
SPECS: list[dict[str, Any]] = [
    {"kind": "pgd", **BALL, "steps": 4},
    {"kind": "pgd", **BALL, "steps": 3, "restarts": 2, "loss": "targeted"},
    {"kind": "apgd", **BALL, "steps": 5, "loss": "margin"},
    {"kind": "apgd", **BALL, "steps": 4, "loss": "targeted", "restarts": 2},
    {"kind": "square", **BALL, "queries": 30},
    {"kind": "rays", **BALL, "queries": 30},
    {"kind": "noise", **BALL, "draws": 3},
    {"kind": "patch", "area": "0.01", "places": 2, "steps": 3, "restarts": 2},
    {
        "kind": "patch-universal",
        "area": "0.01",
        "rotation": 10,
        "training": 8,
        "epochs": 1,
        "learning_rate": 1,
    },
    {"kind": "auto", **BALL, "pgd_steps": 3, "pgd_step_size": "1/255", "steps": 4, "queries": 30},
]


@pytest.mark.parametrize("fields", SPECS, ids=[spec["kind"] for spec in SPECS])
def test_a_question_that_withstands_meets_the_planned_runs(fields: dict[str, Any]) -> None:
    adapter = SchooledAdapter(lean=3.0)
    questions = open_data("phantoms").questions[:4]
    threat = open_attack(read_spec({"name": "x", **fields}))
    assert isinstance(threat, Planned)
    attack = threat
    if threat.spec.trained:
        attack = threat.train(adapter, open_data("phantoms", split="train").questions[:8], seed=0)  # type: ignore[attr-defined]
    chunk = Chunk(adapter, adapter.name, questions, seed=0)
    outcomes, _witnesses = chunk.attack(attack, chunk.clean())  # type: ignore[arg-type]
    standing = [outcome for outcome in outcomes if outcome.attacked and outcome.correct]
    assert standing, "the toy is to withstand"
    for outcome in standing:
        (question,) = [one for one in questions if one.id == outcome.question]
        runs = threat.planned(question, generates=False)
        assert [attempt.objective for attempt in outcome.attempts] == [run.objective for run in runs]
        for attempt, run in zip(outcome.attempts, runs, strict=True):
            assert run.fewest <= len(attempt.losses) <= run.most
        needed = [len(a.losses) - 1 for a, run in zip(outcome.attempts, runs, strict=True) if run.gradient]
        assert outcome.backward_passes >= sum(needed)

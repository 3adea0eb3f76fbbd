"""Honest submissions pass, and what verification says beyond that; falsified ones have files of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.replay import Replay, replay_with
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import InvalidInputError
from tests.toy_runs import SchooledAdapter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.models.cards import Card
    from tests.leaderboard.forgery import Forgery


def test_honest_submissions_are_accepted(honest: Path, cards: dict[str, Card]) -> None:
    paths = sorted(honest.rglob("*.json"))
    assert len(paths) == 6
    for path in paths:
        verdict = verify(path, cards=cards)
        assert verdict.faults == ()
        assert verdict.unranked[0] == "not an official sample: 100, 300, 1000 questions or all"


def test_a_toy_that_does_not_look_at_the_image_is_not_ranked(honest: Path, cards: dict[str, Card]) -> None:
    verdict = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards)
    assert verdict.accepted
    assert not verdict.ranked
    assert any("its audit failed: " in reason and "image dependence" in reason for reason in verdict.unranked)


def test_no_more_than_the_evidence_is_written_once(forgery: Callable[[str], Forgery]) -> None:
    made = forgery("pgd-linf")
    assert {file.name for file in made.folder.iterdir()} == {"journal.jsonl", "witnesses.parquet"}
    before = made.path.read_bytes()
    assert json.loads(made.save().read_text()) == json.loads(before)


def test_other_data_must_be_named(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["name"] = "omnimedvqa"
    with pytest.raises(InvalidInputError, match="say where it is: --data omnimedvqa=PATH"):
        verify(made.save(), cards=cards)


def test_replay_agrees_with_the_model_and_catches_another(honest: Path, cards: dict[str, Card]) -> None:
    verdict = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards)
    agreed = replay_with(SchooledAdapter(lean=0.5), verdict, count=10_000, seed=1)
    assert agreed.disagreements == ()
    assert verdict.proof is not None
    replaced = sum(len(outcome.blind_choices or {}) for outcome in verdict.proof.clean)
    assert replaced > 0
    assert agreed.asked == 24 + replaced + len(verdict.proof.witnesses)
    assert agreed.bound == pytest.approx(1 - 0.05 ** (1 / agreed.asked))
    other = replay_with(SchooledAdapter(lean=0.3), verdict, count=10_000, seed=1)
    assert other.disagreements[0].startswith("weights are")
    assert other.bound == 1.0


def test_three_hundred_agreeing_answers_bound_disagreement_below_one_per_cent() -> None:
    assert Replay(300, ()).bound < 0.01
    assert Replay(298, ()).bound < 0.0101

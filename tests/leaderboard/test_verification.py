"""Honest submissions pass, and what verification says beyond that; falsified ones have files of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from medrobust_bench.leaderboard.replay import Agreement, Wish, replay_with
from medrobust_bench.leaderboard.replay.share import by_count, by_minutes
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import InvalidInputError
from tests.toy_runs import SchooledAdapter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import AttemptRecord, Outcome
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


def test_every_kind_of_claim_is_done_again_and_another_model_is_caught(
    honest: Path, cards: dict[str, Card]
) -> None:
    case = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards).case
    assert case is not None
    agreed = replay_with(SchooledAdapter(lean=0.5), case, Wish(seed=1, count=10_000))
    assert agreed.agrees, agreed.lines()
    asked = {one.kind: one.asked for one in agreed.agreements}
    standing = sum(outcome.attacked and outcome.correct for outcome in case.proof.threat)
    assert standing > 0
    assert asked == {
        "clean answers": 24,
        "answers without the image": sum(len(o.blind_choices or {}) for o in case.proof.clean),
        "broken answers": len(case.proof.witnesses),
        "standing answers": standing,
    }
    assert all(one.bound == 0 for one in agreed.agreements), "all were asked, nothing is left to chance"
    other = replay_with(SchooledAdapter(lean=0.3), case, Wish(seed=1, count=10_000))
    assert other.other_weights is not None
    assert not other.agrees


def test_invented_robustness_does_not_survive_its_own_attack(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    """Clean and replaced answers honest, witnesses deleted, curves borrowed from questions that stood."""
    case = verify(forgery("pgd-linf").path, cards=cards).case
    assert case is not None
    stood = next(o for o in case.proof.threat if o.attacked and o.correct)
    claimed = tuple(
        o.model_copy(update={"correct": True, "choice": o.answer, "attempts": stood.attempts})
        if o.attacked
        else o
        for o in case.proof.threat
    )
    forged = replace(case, proof=replace(case.proof, threat=claimed, witnesses=()))
    found = replay_with(SchooledAdapter(lean=0.5), forged, Wish(seed=1, count=10_000))
    (standing,) = [one for one in found.agreements if one.kind == "standing answers"]
    assert not found.agrees
    assert sum("its own attack breaks it" in what for what in standing.disagreements) == len(
        case.proof.witnesses
    )


def test_an_invented_loss_curve_does_not_begin_where_the_attack_begins(
    honest: Path, cards: dict[str, Card]
) -> None:
    case = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards).case
    assert case is not None

    def higher(outcome: Outcome) -> Outcome:
        attempts = tuple(
            one.model_copy(update={"losses": tuple((loss or 0) + 1 for loss in one.losses)})
            for one in outcome.attempts
        )
        return outcome.model_copy(update={"attempts": attempts})

    forged = replace(case, proof=replace(case.proof, threat=tuple(map(higher, case.proof.threat))))
    found = replay_with(SchooledAdapter(lean=0.5), forged, Wish(seed=1, count=10_000))
    assert not found.agrees
    assert any("the loss at the first image is" in line for line in found.lines())


def test_invented_counts_do_not_survive_their_own_draws(honest: Path, cards: dict[str, Card]) -> None:
    case = verify(honest / "phantoms" / "certified-l2-quick" / "schooled.json", cards=cards).case
    assert case is not None
    assert replay_with(SchooledAdapter(lean=0.5), case, Wish(seed=1, count=10_000)).agrees

    def all_right(certificate: dict[str, Any], answer: int) -> dict[str, Any]:
        looks = []
        for look in certificate["looks"]:
            counts = [0] * len(look["counts"])
            counts[answer] = look["n"]
            looks.append({**look, "counts": counts})
        return {**certificate, "looks": looks}

    claimed = tuple(
        o.model_copy(update={"certificate": all_right(o.certificate or {}, o.answer)})
        for o in case.proof.threat
    )
    forged = replace(case, proof=replace(case.proof, threat=claimed))
    assert not replay_with(SchooledAdapter(lean=0.5), forged, Wish(seed=1, count=10_000)).agrees


@pytest.mark.parametrize(
    ("threat", "update"),
    [
        ("certified-l2-quick", lambda o: {"certificate": _luckier_later(o.certificate or {}, o.answer)}),
        ("pgd-linf", lambda o: {"attempts": tuple(map(_without_its_first_loss, o.attempts))}),
    ],
    ids=["draws after the first look", "a first loss that is not there"],
)
def test_no_part_of_a_claim_escapes_repetition(
    threat: str, update: Callable[[Outcome], dict[str, Any]], honest: Path, cards: dict[str, Card]
) -> None:
    case = verify(honest / "phantoms" / threat / "schooled.json", cards=cards).case
    assert case is not None
    claimed = tuple(o.model_copy(update=update(o)) for o in case.proof.threat)
    forged = replace(case, proof=replace(case.proof, threat=claimed))
    assert not replay_with(SchooledAdapter(lean=0.5), forged, Wish(seed=1, count=10_000)).agrees


def _luckier_later(certificate: dict[str, Any], answer: int) -> dict[str, Any]:
    """A certificate whose draws after the first look are all answered right, however many looks were taken."""
    first, *later = certificate["looks"]
    better = [
        {
            **look,
            "counts": [
                count + (look["n"] - first["n"]) * (option == answer)
                for option, count in enumerate(first["counts"])
            ],
        }
        for look in later
    ]
    return {**certificate, "looks": [first, *better]}


def _without_its_first_loss(attempt: AttemptRecord) -> AttemptRecord:
    return attempt.model_copy(update={"losses": (None, *attempt.losses[1:])})


def test_a_model_that_differs_in_anything_but_its_weights_is_another(
    honest: Path, cards: dict[str, Card]
) -> None:
    case = verify(honest / "phantoms" / "pgd-linf" / "schooled.json", cards=cards).case
    assert case is not None
    result = case.entry.result
    larger = result.model_copy(update={"model": result.model.model_copy(update={"parameters": 10**9})})
    forged = replace(case, entry=case.entry.model_copy(update={"result": larger}))
    found = replay_with(SchooledAdapter(lean=0.5), forged, Wish(seed=1, count=5))
    assert found.other_weights == "another parameters than was submitted"
    assert not found.agrees


def agreement(asked: int, failed: int, *, of: int = 10**6) -> Agreement:
    return Agreement("kind", asked, of, ("what",) * failed, 0.02, "of it are not so")


def test_three_hundred_agreeing_claims_bound_the_share_of_others_below_one_per_cent() -> None:
    assert agreement(300, 0).bound == pytest.approx(1 - 0.05 ** (1 / 300))
    assert agreement(300, 0).bound < 0.01 < agreement(298, 0).bound
    assert agreement(300, 3).agrees
    assert agreement(300, 3).bound == pytest.approx(0.0257, abs=1e-4)
    assert not agreement(40, 1).agrees, "one of forty is more than two per cent"
    assert agreement(20, 0, of=20).bound == 0


def test_what_ranks_gets_the_largest_share() -> None:
    claims = {"clean": 100, "blind": 300, "broken": 10, "standing": 80}
    assert by_count(claims, ["standing"], 50) == {"clean": 6, "blind": 6, "broken": 6, "standing": 30}
    assert by_count(claims, ["standing"], 400)["standing"] == 80
    assert sum(by_count(claims, ["standing"], 400).values()) == 400
    costs = {"clean": 0.1, "blind": 0.1, "broken": 0.1, "standing": 10.0}
    chosen = by_minutes(claims, ["standing"], costs, 600.0)
    assert chosen == {"clean": 100, "blind": 300, "broken": 10, "standing": 55}
    assert by_minutes(claims, ["standing"], costs, 1.0)["standing"] == 1, "never none of what ranks"

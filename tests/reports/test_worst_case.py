"""The worst case over attacks holds for every question, not on average."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.records import Outcome
from medrobust_bench.reports.worst_case import worst_cases
from medrobust_bench.specs.registry import load_specification
from medrobust_bench.specs.threat import CLEAN

THREATS = [
    CLEAN,
    load_specification("pgd-linf").model_copy(update={"name": "a"}),
    load_specification("certified-l2").model_copy(update={"name": "c"}),
    load_specification("noise").model_copy(update={"name": "b"}),
]


def outcome(threat: str, question: int, correct: bool) -> Outcome:
    return Outcome(
        model="m",
        threat=threat,
        question=str(question),
        modality="CT",
        question_type="Disease diagnosis",
        answer=0,
        clean_choice=0,
        choice=0 if correct else 1,
        attacked=True,
        correct=correct,
        witness_sha256=None if correct else threat,
        forward_passes=2,
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_a_question_stands_only_if_it_stands_under_every_attack(standing: list[tuple[bool, bool]]) -> None:
    outcomes = {
        name: [outcome(name, index, row[place] if place < 2 else False) for index, row in enumerate(standing)]
        for name, place in (("clean", 2), ("a", 0), ("c", 2), ("b", 1))
    }
    (found,) = worst_cases(THREATS, outcomes)
    assert found is not None
    threat, worst = found
    assert threat.threats == ("a", "b")
    assert [o.correct for o in worst] == [a and b for a, b in standing]
    assert all(o.forward_passes == 4 and o.threat == "worst-case" for o in worst)
    assert [o.witness_sha256 for o in worst] == [None if a and b else "b" if a else "a" for a, b in standing]


def test_one_attack_has_no_worst_case() -> None:
    assert worst_cases(THREATS[:3], {"clean": [], "a": [], "c": []}) == []

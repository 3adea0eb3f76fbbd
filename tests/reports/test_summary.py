from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.records import DataRecord, Environment, ModelRecord, Outcome, Result
from medrobust_bench.reports.summary import summarise
from medrobust_bench.specs.registry import load_specification

if TYPE_CHECKING:
    from medrobust_bench.specs.threat import ThreatSpec

MODEL = ModelRecord(id="m", weights_sha256="0" * 64, dtype="float32", answer_mode="reasoning", parameters=1)
ENVIRONMENT = Environment(
    medrobust_bench="0",
    python="3",
    torch="2",
    transformers="5",
    adversarial_robustness_toolbox="1",
    platform="p",
    device="cpu",
)
PGD = load_specification("pgd-linf")
CERTIFIED = load_specification("certified-l2").model_copy(update={"radii": (Fraction(1, 4), Fraction(1, 2))})


def outcome(number: int, *, clean: int | None, under: int | None, **fields: object) -> Outcome:
    """A question whose right answer is 0; even ones are CT, odd ones MRI."""
    return Outcome(
        model="m",
        threat="t",
        question=f"q{number}",
        modality="CT" if number % 2 == 0 else "MRI",
        question_type="Disease diagnosis",
        answer=0,
        clean_choice=clean,
        choice=under,
        attacked=clean == 0,
        correct=under == 0,
        forward_passes=2,
        backward_passes=1,
        seconds=0.5,
        **fields,
    )


def summary(outcomes: list[Outcome], threat: ThreatSpec) -> Result:
    data = DataRecord(name="d", split="test", synthetic=True, n=4, digest="0" * 64)
    return summarise(outcomes, model=MODEL, data=data, threat=threat, seed=0, environment=ENVIRONMENT)


ATTACKED = [
    outcome(0, clean=0, under=0),
    outcome(1, clean=0, under=1),
    outcome(2, clean=0, under=None),
    outcome(3, clean=None, under=None),
]


def test_robust_accuracy_counts_unparsable_as_wrong() -> None:
    metrics = summary(ATTACKED, PGD).metrics
    assert metrics.clean_accuracy.value == 3 / 4
    assert metrics.robust_accuracy is not None
    assert metrics.robust_accuracy.value == 1 / 4
    assert metrics.unparsed_rate.clean == 1 / 4
    assert metrics.unparsed_rate.adversarial == 1 / 3, "of the three that were attacked"


def test_groups_partition_the_questions_and_the_worst_is_named() -> None:
    metrics = summary(ATTACKED, PGD).metrics
    robust = {name: group.robust_accuracy for name, group in metrics.by_modality.items()}
    assert {name: (rate.value, rate.n) for name, rate in robust.items() if rate} == {
        "CT": (0.5, 2),
        "MRI": (0.0, 2),
    }
    assert metrics.worst_modality == "MRI"


def test_certified_accuracy_needs_the_right_answer_and_the_radius() -> None:
    certified = [
        outcome(0, clean=0, under=0, certificate={"radius": 0.5}),
        outcome(1, clean=0, under=0, certificate={"radius": 0.25}),
        outcome(2, clean=0, under=1, certificate={"radius": 0.9}),
        outcome(3, clean=0, under=None, certificate={"radius": 0.0}),
    ]
    metrics = summary(certified, CERTIFIED).metrics
    assert metrics.robust_accuracy is None
    assert [(point.radius, point.value) for point in metrics.certified_accuracy] == [(0.25, 0.5), (0.5, 0.25)]


def test_costs_add_up() -> None:
    cost = summary(ATTACKED, PGD).cost
    assert (cost.forward_passes, cost.backward_passes, cost.seconds) == (8, 4, 2.0)


@pytest.mark.parametrize("outcomes", [ATTACKED[:3], [*ATTACKED[:3], ATTACKED[0]]])
def test_missing_or_repeated_questions_are_an_error(outcomes: list[Outcome]) -> None:
    with pytest.raises(ValueError, match="outcomes for 4 questions"):
        summary(outcomes, PGD)


def test_generated_answers_are_counted_by_kind_and_rule() -> None:
    told = [
        outcome(0, clean=0, under=0, kind="read", tier="tags"),
        outcome(1, clean=0, under=1, kind="read", tier="letter"),
        outcome(2, clean=0, under=None, kind="truncated", tier="unparsed"),
        outcome(3, clean=None, under=None),
    ]
    answers = summary(told, PGD).metrics.answers
    assert answers is not None
    assert answers.model_dump(mode="json") == {
        "kinds": {"read": 2, "truncated": 1},
        "tiers": {"tags": 1, "letter": 1},
    }


def test_a_journal_that_tells_no_kinds_reads_and_writes_as_before() -> None:
    line = ATTACKED[0].model_dump(mode="json")
    assert not {"kind", "tier"} & line.keys()
    assert Outcome.model_validate(line) == ATTACKED[0]
    result = summary(ATTACKED, PGD)
    assert result.metrics.answers is None
    assert "answers" not in result.model_dump(mode="json")["metrics"]

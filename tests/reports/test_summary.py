from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.records import Alteration, DataRecord, Environment, ModelRecord, Outcome, Result
from medrobust_bench.records.intervals import wilson
from medrobust_bench.reports.summary import scores, summarise
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


DEPENDENT = {"q0": True, "q1": True, "q3": False}
"""Of the first question under attack, which stands, the image decides; of the third nobody knows."""


def summary_with_credit(outcomes: list[Outcome], threat: ThreatSpec) -> Result:
    data = DataRecord(name="d", split="test", synthetic=True, n=4, digest="0" * 64)
    return summarise(
        outcomes,
        model=MODEL,
        data=data,
        threat=threat,
        seed=0,
        environment=ENVIRONMENT,
        dependent=DEPENDENT,
    )


def test_credit_needs_an_answer_that_stands_and_depends_on_the_image() -> None:
    metrics = summary_with_credit(ATTACKED, PGD).metrics
    assert metrics.credited_accuracy == wilson(1, 3), "q0 of q0, q1, q3; q2 was not asked without its image"
    by_modality = {name: group.credited_accuracy for name, group in metrics.by_modality.items()}
    assert by_modality == {"CT": wilson(1, 1), "MRI": wilson(0, 2)}
    blind = ATTACKED[0].model_copy(update={"question": "q3"})
    (whole,) = [scores([blind], PGD, dependent=DEPENDENT)]
    assert whole.robust_accuracy == wilson(1, 1)
    assert whole.credited_accuracy == wilson(0, 1), "it stands, and would stand without the image"
    assert summary(ATTACKED, PGD).metrics.credited_accuracy is None
    assert "credited_accuracy" not in summary(ATTACKED, PGD).model_dump_json()


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([True, False, None])), min_size=1))
def test_credit_is_the_share_of_both_among_the_asked(drawn: list[tuple[bool, bool | None]]) -> None:
    outcomes = [outcome(number, clean=0, under=int(not stands)) for number, (stands, _) in enumerate(drawn)]
    dependent = {f"q{number}": known for number, (_, known) in enumerate(drawn) if known is not None}
    credited = scores(outcomes, PGD, dependent=dependent).credited_accuracy
    if not dependent:
        assert credited is None
        return
    assert credited == wilson(sum(bool(stands and known) for stands, known in drawn), len(dependent))


def test_credit_of_a_certification_is_at_the_smallest_radius_and_of_corruptions_a_mean() -> None:
    certified = [outcome(0, clean=0, under=0, certificate={"radius": radius}) for radius in (0.3, 0.2)]
    certified[1] = certified[1].model_copy(update={"question": "q1"})
    assert scores(certified, CERTIFIED, dependent=DEPENDENT).credited_accuracy == wilson(1, 2)
    images = [Alteration(what="noise", severity=1, image_sha256="0" * 64, choice=choice) for choice in (0, 1)]
    corrupted = [outcome(number, clean=0, under=1, alterations=images) for number in (0, 3)]
    credited = scores(corrupted, load_specification("corruptions"), dependent=DEPENDENT).credited_accuracy
    assert credited is not None
    assert (credited.value, credited.n) == (1 / 4, 2), "half of q0's images, none of q3's"

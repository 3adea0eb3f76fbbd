"""The light checks on hand-made journals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.records import AttemptRecord, Finding, Outcome
from medrobust_bench.runs.audit.baseline import (
    baselines,
    cut_short,
    format_breaks,
    option_texts,
    positive_control,
)
from medrobust_bench.runs.audit.blindness import REPLACEMENTS, blindness, dependent_answers, replacement
from medrobust_bench.runs.audit.check import Skipped, above, below
from medrobust_bench.runs.audit.losses import is_flat, restarts_used, rise_at_the_end, rising_losses
from medrobust_bench.runs.audit.masking import masking
from medrobust_bench.runs.audit.optimisation import (
    MORE_RESTARTS,
    MORE_STEPS,
    OTHER_LOSS,
    SINGLE_STEP,
    optimisation_health,
)
from medrobust_bench.runs.audit.rivalry import rivals
from medrobust_bench.runs.audit.subject import Subject, Trial, standing
from medrobust_bench.runs.threats import open_attack
from medrobust_bench.specs.kinds import read_spec
from medrobust_bench.specs.registry import load_specification
from tests.runs.audit.kit import kit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.specs.threat import ThreatSpec


def outcome(number: int, *, correct: bool = True, **fields: object) -> Outcome:
    given_fields = {"choice": 0 if correct else 1, "clean_choice": 0, "attacked": True, **fields}
    return Outcome(
        model="m",
        threat="t",
        question=f"q{number}",
        modality="CT",
        question_type="Disease diagnosis",
        answer=0,
        correct=correct,
        **given_fields,
    )


def journal(right: int, n: int) -> list[Outcome]:
    return [outcome(number, correct=number < right) for number in range(n)]


@pytest.mark.parametrize(("right", "verdict"), [(0, "pass"), (10, "warn"), (35, "pass")])
def test_an_attack_that_stops_at_chance_is_a_finding(right: int, verdict: str) -> None:
    options = {f"q{number}": 4 for number in range(40)}
    assert positive_control(journal(right, 40), options).verdict == verdict


def test_a_model_that_always_says_the_same_fails_the_majority_baseline() -> None:
    options = {f"q{number}": 4 for number in range(40)}
    key = [number % 2 for number in range(40)]  # the right option is the first in half of the questions
    same = [
        outcome(number, correct=answer == 0).model_copy(update={"answer": answer})
        for number, answer in enumerate(key)
    ]
    by_check = {finding.check: finding.verdict for finding in baselines(same, options)}
    assert by_check["majority baseline"] == "fail"
    assert by_check["chance baseline"] == "pass"


@pytest.mark.parametrize(
    ("right", "known", "verdict", "value"),
    [
        (range(40), range(10), "pass", 0.75),
        (range(24), range(20), "warn", 0.1),  # 4 : 0 discordant, p = 1/16
        (range(25), range(20), "pass", 0.125),  # 5 : 0 discordant, p = 1/32
        (range(20), range(20), "warn", 0.0),
        (range(10), range(10, 40), "warn", -0.5),
    ],
)
def test_clean_answers_are_held_against_the_texts_question_by_question(
    right: range, known: range, verdict: str, value: float
) -> None:
    clean = [outcome(number, correct=number in right) for number in range(40)]
    texts = {f"q{number}": 0 if number in known else 1 for number in range(40)}
    found = option_texts(clean, texts)
    assert found.verdict == verdict, (
        "never fail: who did not learn from the training split may see all the same"
    )
    assert found.value == pytest.approx(value)
    assert f"the options' texts alone {len(known) / 40:.1%}" in found.meaning


def test_what_depends_on_the_image_is_known_where_it_was_asked() -> None:
    clean = [
        outcome(0, blind_choices={"blank": 0, "another": 1}),
        outcome(1, blind_choices={"blank": 1, "another": 0}),
        outcome(2, blind_choices={"blank": 1, "noise": 0}),
        outcome(3, correct=False),
        outcome(4),
        outcome(5, blind_choices={"blank": 1}),
    ]
    asked = {f"q{number}" for number in range(5)}
    assert dependent_answers(clean, asked) == {"q0": True, "q1": False, "q2": True, "q3": False}


@pytest.mark.parametrize(("kept", "verdict"), [(0, "pass"), (12, "warn"), (20, "fail")])
def test_blindness_is_judged_by_what_the_image_decides(kept: int, verdict: str) -> None:
    clean = [
        outcome(number, blind_choices=dict.fromkeys(REPLACEMENTS, 0 if number < kept else 1))
        for number in range(20)
    ]
    assert blindness(clean)[-1].verdict == verdict
    assert blindness(clean)[-1].value == pytest.approx(1 - kept / 20)
    assert blindness(clean[:4]) == []


@given(st.integers(0, 2**62), st.integers(1, 9), st.integers(1, 9))
def test_a_shuffled_image_keeps_its_colours(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    shuffled = replacement(image, "shuffled", seed)
    assert sorted(map(tuple, shuffled.reshape(-1, 3).tolist())) == sorted(
        map(tuple, image.reshape(-1, 3).tolist())
    )
    assert np.array_equal(shuffled, replacement(image, "shuffled", seed))
    assert (replacement(image, "blank", seed) == 128).all()


def test_format_breaks_are_told_from_wrong_answers() -> None:
    outcomes = [outcome(0, correct=False, choice=None), outcome(1, correct=False), outcome(2)]
    (finding,) = format_breaks(outcomes)
    assert finding.value == 0.5
    assert format_breaks(journal(3, 3)) == []


def test_losses_that_rise_to_the_end_and_losses_that_rest() -> None:
    assert rise_at_the_end([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == pytest.approx(2 / 7)
    assert rise_at_the_end([0.0, *[7.0] * 7]) == 0.0
    assert rise_at_the_end([3.0, 2.0, 1.0, None]) == 0.0
    assert is_flat([1.0, 1.0])
    assert not is_flat([1.0])


@pytest.mark.parametrize(
    ("rising", "rested", "verdict"),
    [(0, 1, "pass"), (1, 0, "warn"), (2, 0, "fail"), (1, 1, "warn"), (1, 3, "pass")],
)
def test_one_question_with_a_rising_loss_is_no_failure(rising: int, rested: int, verdict: str) -> None:
    kinds = [(0.0, 1.0, 2.0, 3.0)] * rising + [(0.0, 3.0, 3.0, 3.0)] * rested
    runs = [AttemptRecord(objective="margin", losses=losses, broken=False) for losses in kinds]
    (finding,) = rising_losses({str(number): [run] for number, run in enumerate(runs)})
    assert finding.verdict == verdict


def test_a_last_restart_that_still_breaks_questions_is_a_finding() -> None:
    def tried(*broken: bool) -> list[AttemptRecord]:
        return [AttemptRecord(objective="margin", losses=(0.0, 1.0), broken=one) for one in broken]

    (finding,) = restarts_used({"a": tried(False, True), "b": tried(True), "c": tried(False, False)})
    assert finding.value == pytest.approx(1 / 3, rel=1e-3)
    assert finding.verdict == "fail"
    assert restarts_used({"a": tried(True)}) == []


def threat(name: str, kind: str, eps: str, **fields: object) -> ThreatSpec:
    return read_spec({"name": name, "kind": kind, "norm": "linf", "eps": eps, **fields})


def test_rivals_are_compared_only_where_they_may_do_no_more() -> None:
    own = (threat("pgd", "pgd", "4/255", steps=20), journal(10, 20))
    louder = (threat("noise", "noise", "8/255", draws=1), journal(2, 20))
    assert rivals(own, [louder]) == []
    equal = (threat("noise", "noise", "4/255", draws=1), journal(8, 20))
    (finding,) = rivals(own, [equal])
    assert (finding.check, finding.value, finding.verdict) == ("gradient-free stays behind", 2, "fail")
    smaller = (threat("pgd small", "pgd", "2/255", steps=20), journal(9, 20))
    (finding,) = rivals(own, [smaller])
    assert (finding.check, finding.value, finding.verdict) == ("larger ε breaks more", 1, "warn")


@given(st.floats(0, 1))
def test_verdicts_on_their_limits(value: float) -> None:
    assert above(value, warn=value, fail=value) == "pass"
    assert below(value, warn=value, fail=value) == "pass"
    assert above(value + 0.1, warn=value, fail=value) == "fail"
    assert below(value - 0.1, warn=value, fail=value - 0.5) == "warn"


def test_an_attack_that_broke_everything_does_not_stop_at_chance() -> None:
    outcomes = journal(0, 8)
    finding = positive_control(outcomes, {outcome.question: 4 for outcome in outcomes})
    assert (finding.verdict, "no right answer is left" in finding.meaning) == ("pass", True)


def test_variations_that_can_only_break_more_are_not_made_where_nothing_stands() -> None:
    """0 of 0 questions pass no check, and cost nothing."""
    asked: list[tuple[str, int]] = []

    class Watched(Subject):
        def attack(
            self, threat: Threat, watch: Any = None, *, only: Sequence[Trial] | None = None
        ) -> list[Trial]:
            asked.append((threat.spec.kind, len(self.questions if only is None else only)))
            return super().attack(threat, watch, only=only)

    (case,) = [case for case in kit() if not case.flag]
    subject = Watched(case.toy, case.dataset().questions, open_attack(load_specification("pgd-linf")), seed=0)
    trials = subject.attack(subject.threat)
    assert not standing(trials)
    asked.clear()
    found = optimisation_health(subject, trials)
    assert {item.check for item in found if isinstance(item, Skipped)} == {
        check.name for check in (MORE_STEPS, MORE_RESTARTS, OTHER_LOSS, SINGLE_STEP)
    }
    assert len(asked) == 3, "half the size, twice the size, without a bound"
    assert all(isinstance(item, Skipped) for item in masking(subject, trials, {}))
    assert len(asked) == 3


def test_more_effort_is_spent_on_what_is_left_standing_alone() -> None:
    (case,) = [case for case in kit() if not case.flag]
    weak = open_attack(load_specification("pgd-linf:eps=1/255,steps=1"))
    subject = Subject(case.toy, case.dataset().questions, weak, seed=0)
    trials = subject.attack(weak)
    left = [trial for trial in trials if not trial.broken]
    assert 0 < len(left) < len(trials)
    again = subject.attack(weak, only=left)
    assert [trial.question for trial in again] == [trial.question for trial in left]
    assert not any(trial.broken for trial in again), (
        "what becomes of a question does not depend on its company"
    )
    by_check = {
        item.check: item for item in optimisation_health(subject, trials) if isinstance(item, Finding)
    }
    assert (
        by_check[MORE_STEPS.name]
        .meaning.split(" break by")[0]
        .endswith(f"of {len(left)} questions left standing")
    )


@pytest.mark.parametrize(("n", "verdict"), [(8, "warn"), (40, "fail")])
def test_a_few_wrong_answers_show_nothing(n: int, verdict: str) -> None:
    """2 of 8 at chance is bad luck, 10 of 40 is not; and neither "nothing to attack"."""
    clean = [
        outcome(number, correct=number < n // 4).model_copy(update={"answer": number % 4})
        for number in range(n)
    ]
    found = baselines(clean, {f"q{number}": 4 for number in range(n)})[0]
    assert found.verdict == verdict
    assert "attack" not in found.meaning


@pytest.mark.parametrize(("cut", "verdict"), [(0, "pass"), (2, "pass"), (3, "warn"), (40, "warn")])
def test_more_than_one_in_twenty_answers_cut_short_warns(cut: int, verdict: str) -> None:
    kinds = ["truncated"] * cut + ["read"] * (40 - cut)
    (finding,) = cut_short([outcome(number, kind=kind) for number, kind in enumerate(kinds)])
    assert (finding.value, finding.verdict) == (cut / 40, verdict)
    assert ("--max-new-tokens" in finding.meaning) == (verdict == "warn")
    assert cut_short(journal(20, 40)) == []

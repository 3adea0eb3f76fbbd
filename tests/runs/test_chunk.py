from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

from medrobust_bench.attacks.attack_result import AttackResult
from medrobust_bench.data.image import from_png
from medrobust_bench.models.adapter import Answer, in_full_precision
from medrobust_bench.models.averaged import AveragedQuestions, AveragedVLM, Expectation, GaussianSmoothing
from medrobust_bench.records import AnswerKind, Smoothing, Tier
from medrobust_bench.records.witness import read_witnesses, write_witnesses
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.judge import BudgetExceededError
from medrobust_bench.runs.threats import load_threat
from tests.linear import LinearQuestions

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.records import Outcome
    from tests.linear import LinearAdapter

SMOOTHING = Smoothing(sigma=0.1, n=10, alpha=0.1)
SPEC = "pgd-linf:eps=2/255,step_size=1/255,steps=4"


@pytest.fixture
def chunk(adapter: LinearAdapter, dataset: Dataset) -> Chunk:
    return Chunk(adapter, "linear", dataset.questions, seed=0)


class Cheat:
    """Returns an image one level outside the budget of the threat that it wraps."""

    def __init__(self) -> None:
        self.honest = load_threat(SPEC)
        self.spec, self.budget = self.honest.spec, self.honest.budget

    def search(self, bound: Any, seeds: Any, *, watch: Any = None) -> list[AttackResult]:
        images = [
            np.where(image > 127, image - 3, image + 3).astype(np.uint8) for image in bound.batch.images
        ]
        return [AttackResult(image, None, 0, 0, 0) for image in images]


class OutOfMemory:
    """Runs out of memory on more than two questions at a time."""

    def __init__(self) -> None:
        self.threat = load_threat(SPEC)
        self.spec, self.budget = self.threat.spec, self.threat.budget
        self.sizes: list[int] = []

    def search(self, bound: Any, seeds: Any, *, watch: Any = None) -> list[AttackResult]:
        self.sizes.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError
        return self.threat.search(bound, seeds)


class CoarseQuestions(LinearQuestions):
    """Questions whose gradient is lost to rounding."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().scores(pixels).detach() + 0 * pixels.sum()


class CoarseOnly:
    """A model of half precision."""

    differentiable = True
    kind: Any = CoarseQuestions

    def __init__(self, fine: LinearAdapter) -> None:
        self.fine, self.record = fine, fine.record

    def bind(self, questions: Any) -> CoarseQuestions:
        return self.kind.of(self.fine.bind(questions))


class CoarseOrFine(CoarseQuestions):
    """The same, to be had in float32 as well."""

    copies: ClassVar[list[int]] = []

    def upcast(self) -> LinearQuestions:
        self.copies.append(len(self.batch))
        return LinearQuestions.of(self)


class Coarse(CoarseOnly):
    """A model of half precision that can be had in float32 as well."""

    kind = CoarseOrFine


class SpeakingQuestions(LinearQuestions):
    """Questions answered in words; a wrong answer is a refusal."""

    def answer(self, images: Any, *, exact: bool = True) -> list[Answer]:
        right = zip(super().answer(images), self.batch.answers, strict=True)
        return [
            Answer(said.choice, "B.", AnswerKind.READ, Tier.LETTER)
            if said.choice == answer
            else Answer(None, "I cannot tell.", AnswerKind.REFUSED, Tier.UNPARSED)
            for said, answer in right
        ]


class Speaking(CoarseOnly):
    """A model that answers in words."""

    kind = SpeakingQuestions


def test_clean_accuracy_is_measured_on_the_deployed_path(chunk: Chunk, dataset: Dataset) -> None:
    assert [outcome.correct for outcome in chunk.clean()] == [row % 3 != 0 for row in range(10)]


def test_only_questions_answered_right_are_attacked(chunk: Chunk) -> None:
    clean = chunk.clean()
    outcomes, _witnesses = chunk.attack(load_threat(SPEC), clean)
    assert [outcome.attacked for outcome in outcomes] == [outcome.correct for outcome in clean]
    assert not any(
        outcome.correct for outcome, before in zip(outcomes, clean, strict=True) if not before.correct
    )


def test_a_witness_is_inside_the_budget_and_answered_wrongly(
    chunk: Chunk, adapter: LinearAdapter, dataset: Dataset
) -> None:
    outcomes, witnesses = chunk.attack(load_threat(SPEC), chunk.clean())
    broken = {o.question: o for o in outcomes if o.attacked and not o.correct}
    assert 0 < len(broken) < sum(outcome.attacked for outcome in outcomes), (
        "the toy should be neither trivial nor safe"
    )
    assert [witness.question for witness in witnesses] == list(broken)
    by_id = {question.id: question for question in dataset.questions}
    for witness in witnesses:
        bound = adapter.bind([by_id[witness.question]])
        image = from_png(witness.image)
        assert np.abs(image.astype(int) - bound.batch.images[0]).max() <= 2
        (answer,) = bound.answer([image])
        assert answer.choice == witness.choice == broken[witness.question].choice != witness.answer
        assert broken[witness.question].witness_sha256 == witness.sha256


def test_an_attack_outside_its_budget_is_an_error_never_a_result(chunk: Chunk) -> None:
    with pytest.raises(BudgetExceededError, match="linear-0-1"):
        chunk.attack(Cheat(), chunk.clean())


def test_running_out_of_memory_halves_the_batch_and_changes_no_outcome(
    adapter: LinearAdapter, dataset: Dataset
) -> None:
    whole = Chunk(adapter, "linear", dataset.questions, seed=0)
    halved = Chunk(adapter, "linear", dataset.questions, seed=0)
    threat = OutOfMemory()
    expected, _ = whole.attack(threat.threat, whole.clean())
    found, _ = halved.attack(threat, halved.clean())
    assert threat.sizes[0] == 6
    assert min(threat.sizes) <= 2
    assert [outcome.model_copy(update={"seconds": 0.0}) for outcome in found] == [
        outcome.model_copy(update={"seconds": 0.0}) for outcome in expected
    ]


def test_what_half_precision_leaves_standing_goes_on_in_full_precision(
    adapter: LinearAdapter, dataset: Dataset
) -> None:
    threat = load_threat(SPEC)
    in_half = Chunk(CoarseOnly(adapter), "half", dataset.questions, seed=0)
    in_both = Chunk(Coarse(adapter), "both", dataset.questions, seed=0)
    in_full = Chunk(adapter, "full", dataset.questions, seed=0)
    half, both, full = (chunk.attack(threat, chunk.clean())[0] for chunk in (in_half, in_both, in_full))

    def broken(outcomes: list[Outcome]) -> set[str]:
        return {outcome.question for outcome in outcomes if outcome.attacked and not outcome.correct}

    assert broken(half) < broken(both) == broken(half) | broken(full)
    for half_cost, both_cost, full_cost in zip(half, both, full, strict=True):
        stood_in_half = half_cost.attacked and half_cost.correct
        extra = full_cost.backward_passes if stood_in_half else 0
        assert both_cost.backward_passes == half_cost.backward_passes + extra


def test_no_second_model_is_made_without_need(adapter: LinearAdapter, dataset: Dataset) -> None:
    copies = CoarseOrFine.copies
    copies.clear()
    chunk = Chunk(Coarse(adapter), "coarse", dataset.questions, seed=0)
    clean = chunk.clean()
    chunk.attack(load_threat("noise:draws=3"), clean)
    assert copies == []
    for _ in range(2):
        chunk.attack(load_threat("pgd-linf:eps=1/255"), clean)
    assert copies == [10]


@pytest.mark.parametrize("averaging", [Expectation(draws=2), GaussianSmoothing(SMOOTHING, draws=2)])
def test_averages_pass_full_precision_on(averaging: Any, adapter: LinearAdapter, dataset: Dataset) -> None:
    bound = AveragedVLM(Coarse(adapter), averaging).bind(dataset.questions)
    precise = in_full_precision(bound)
    assert isinstance(precise, AveragedQuestions)
    assert type(precise.base) is LinearQuestions
    assert precise.averaging is averaging
    assert in_full_precision(AveragedVLM(CoarseOnly(adapter), averaging).bind(dataset.questions)) is None


def test_costs_add_up_to_the_passes_made(chunk: Chunk) -> None:
    clean = chunk.clean()
    assert sum(outcome.forward_passes for outcome in clean) == 20  # judged twice
    outcomes, _ = chunk.attack(load_threat("noise:draws=3"), clean)
    assert sum(outcome.backward_passes for outcome in outcomes) == 0
    assert all(outcome.forward_passes > 0 for outcome in outcomes if outcome.attacked)
    assert all(outcome.forward_passes == 0 for outcome in outcomes if not outcome.attacked)


def test_each_question_pays_for_itself(chunk: Chunk) -> None:
    outcomes, _ = chunk.attack(load_threat("pgd-linf:eps=1/255,restarts=2"), chunk.clean())
    for outcome in outcomes:
        scored = chunk._bound.passes.count(outcome.question)
        assert scored >= outcome.backward_passes
        answered = outcome.forward_passes - scored  # checks, and the verdict
        assert answered >= 1 if outcome.attacked else answered == 0
    broken = [outcome.forward_passes for outcome in outcomes if outcome.attacked and not outcome.correct]
    standing = [outcome.forward_passes for outcome in outcomes if outcome.correct]
    assert broken
    assert max(broken) < min(standing)


def test_the_runs_of_an_attack_are_on_record(chunk: Chunk) -> None:
    outcomes, _ = chunk.attack(load_threat("pgd-linf:eps=1/255,restarts=2,loss=margin"), chunk.clean())
    for outcome in outcomes:
        if not outcome.attacked:
            assert outcome.attempts == ()
            continue
        assert {attempt.objective for attempt in outcome.attempts} == {"margin at words"}
        assert [attempt.broken for attempt in outcome.attempts][-1] != outcome.correct
        assert all(len(attempt.losses) == 21 for attempt in outcome.attempts if not attempt.broken)


def test_a_model_that_answers_a_clean_image_now_so_now_so_is_not_steady(
    dataset: Dataset, adapter: LinearAdapter
) -> None:
    class Fickle:
        turn = 0

        def bind(self, questions: Any) -> Any:
            bound, Fickle.turn = adapter.bind(questions), Fickle.turn + 1
            if Fickle.turn == 2:
                bound.biases += torch.linspace(0, 50, 4)
            return bound

    clean = Chunk(Fickle(), "fickle", dataset.questions, seed=0).clean()
    assert not all(outcome.steady for outcome in clean)
    assert all(outcome.steady for outcome in Chunk(adapter, "firm", dataset.questions, seed=0).clean())


def test_certification_looks_at_every_question(chunk: Chunk) -> None:
    certification = load_threat("certified-l2-exact:n0=20,n=50,sigma=0.01")
    outcomes = list(chunk.certify(certification, chunk.clean(), range(10)))
    assert all(outcome.certificate is not None for outcome in outcomes)
    assert any(outcome.correct for outcome in outcomes)
    assert sum(outcome.forward_passes for outcome in outcomes) == 10 * 70


def test_witnesses_survive_the_file(tmp_path: Path, chunk: Chunk) -> None:
    _outcomes, witnesses = chunk.attack(load_threat(SPEC), chunk.clean())
    write_witnesses(tmp_path / "w.parquet", witnesses)
    assert read_witnesses(tmp_path / "w.parquet") == witnesses


@pytest.mark.parametrize(
    "name", ["corruption:jpeg,severity=5", "corruptions-adversarial:queries=2", "injection"]
)
def test_how_an_answer_to_an_altered_image_was_read_is_told(
    name: str, adapter: LinearAdapter, dataset: Dataset
) -> None:
    chunk = Chunk(Speaking(adapter), "speaking", dataset.questions, seed=0)
    outcomes = [outcome for outcome in chunk.alter(load_threat(name), chunk.clean()) if outcome.attacked]
    assert {outcome.correct for outcome in outcomes} == {True, False}
    for outcome in outcomes:
        read = AnswerKind.READ, Tier.LETTER, "B."
        refused = AnswerKind.REFUSED, Tier.UNPARSED, "I cannot tell."
        assert (outcome.kind, outcome.tier, outcome.text) == (read if outcome.correct else refused)

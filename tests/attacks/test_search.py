"""What a search keeps, what it counts as broken, and what it costs."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from medrobust_bench.attacks.attack_result import merge_results, settled
from medrobust_bench.attacks.budget import LinfBudget
from medrobust_bench.attacks.losses import Loss
from medrobust_bench.attacks.search import GENERATION_INTERVAL, AttackResult, Search
from medrobust_bench.models.adapter import Answer, Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RIGHT, WRONG = 0, 1
CLEAN = np.full((1, 1, 3), 100, np.uint8)


class ScriptedQuestion:
    """One question whose loss, doubt and deployed answer are functions of its grey level; its own attack loss.

    Doubt is a tie of the two scores.
    """

    name = "scripted"
    is_likelihood = False
    generation = None
    batch = Batch(
        (SimpleNamespace(id="scripted", options=("yes", "no"), answer=RIGHT),), (CLEAN,), tolerance=0.1
    )

    def __init__(
        self,
        *,
        loss: Callable[[float], float],
        doubt: Callable[[float], bool] = lambda level: False,
        answer: Callable[[int], Answer] = lambda level: Answer(RIGHT),
    ) -> None:
        self._loss, self._doubt, self._answer = loss, doubt, answer
        self.asked: list[int] = []

    def applies_to(self, question: object) -> bool:
        return True

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        (level,) = (float(image.mean()) * 255 for image in pixels.detach())
        self._value = torch.tensor([self._loss(level)]) + 0 * pixels.sum((1, 2, 3))
        return torch.tensor([[0.0, 0.0 if self._doubt(level) else -1.0]])

    def of_scores(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self._value

    def answer(self, images: Sequence[np.ndarray], *, exact: bool = True) -> list[Answer]:
        levels = [int(image.flat[0]) for image in images]
        self.asked.extend(levels)
        return [self._answer(level) for level in levels]

    def select(self, rows: Sequence[int]) -> ScriptedQuestion:
        assert set(rows) == {0}
        return self


def scripted_loss(
    loss: ScriptedQuestion, bound: ScriptedQuestion, pixels: torch.Tensor, completions: Sequence[str]
) -> Loss:
    """What `loss_at` gives where options are scored."""
    scores = bound.scores(pixels)
    return Loss(bound.of_scores(scores, bound.batch), scores[:, 1] > -0.5, scores[:, 1] > 0)


def started(question: ScriptedQuestion, eps: Fraction = Fraction(50, 255), **settings: Any) -> Search:
    search = Search(question, [LinfBudget(eps)], **settings)
    search.begin(question)
    return search


def searched(question: ScriptedQuestion, levels: Sequence[float]) -> AttackResult:
    """Try these grey levels one after the other."""
    search = started(question)
    for level in levels:
        search.try_images(torch.full((1, 3, 1, 1), level / 255))
    search.flush()
    (result,) = search.results()
    return result


def test_the_best_iterate_is_kept_not_the_last() -> None:
    oscillating = ScriptedQuestion(loss=lambda level: {101: 1.0, 120: 3.0, 90: 2.0}[round(level)])
    result = searched(oscillating, [101, 120, 90])
    assert result.image.flat[0] == 120
    assert result.answer is None


def test_the_best_iterate_is_kept_when_gradients_are_taken() -> None:
    question = ScriptedQuestion(loss=lambda level: -abs(level - 110))
    search = started(question)
    for level in (100, 109, 140):
        search.gradient(torch.full((1, 3, 1, 1), level / 255))
    (result,) = search.results()
    assert result.image.flat[0] == 109
    assert (result.forward_passes, result.backward_passes) == (3, 3)


def test_nothing_tried_leaves_the_clean_image() -> None:
    result = searched(ScriptedQuestion(loss=lambda level: 0.0), [])
    np.testing.assert_array_equal(result.image, CLEAN)
    assert result.forward_passes == 0


def test_only_the_deployed_answer_to_the_8_bit_image_breaks_a_question() -> None:
    # The float path sees 110.4 beyond the boundary; the image that can be handed in is 110, inside it.
    question = ScriptedQuestion(
        loss=lambda level: level,
        doubt=lambda level: level > 110.2,
        answer=lambda level: Answer(WRONG if level > 110 else RIGHT),
    )
    assert searched(question, [110.4]).answer is None
    result = searched(question, [110.4, 110.6])
    assert result.answer == Answer(WRONG)
    assert result.image.flat[0] == 111


def test_the_witness_is_the_image_that_was_verified_even_if_another_has_a_higher_loss() -> None:
    question = ScriptedQuestion(
        loss=lambda level: 150 - level,
        doubt=lambda level: level > 110,
        answer=lambda level: Answer(WRONG),
    )
    result = searched(question, [90, 120])
    assert result.image.flat[0] == 120


def test_the_budget_is_kept_whatever_is_tried() -> None:
    question = ScriptedQuestion(
        loss=lambda level: level, doubt=lambda level: True, answer=lambda level: Answer(WRONG)
    )
    assert searched(question, [255]).image.flat[0] == 150


def test_no_doubt_no_check() -> None:
    question = ScriptedQuestion(loss=lambda level: level, answer=lambda level: Answer(WRONG))
    assert searched(question, [110, 120]).answer is None
    assert question.asked == []


def test_a_broken_question_costs_nothing_more_and_has_zero_gradient() -> None:
    question = ScriptedQuestion(
        loss=lambda level: level, doubt=lambda level: True, answer=lambda level: Answer(WRONG)
    )
    search = started(question, Fraction(1))
    search.try_images(torch.full((1, 3, 1, 1), 0.5))
    assert search.open_rows == []
    assert search.gradient(torch.full((1, 3, 1, 1), 0.6)).abs().sum() == 0
    search.try_images(torch.full((1, 3, 1, 1), 0.7))
    (result,) = search.results()
    assert (result.forward_passes, result.backward_passes, result.checks) == (1, 0, 1)


def test_an_unparsable_answer_breaks_but_a_wrong_one_is_preferred() -> None:
    def answer(level: int) -> Answer:
        return Answer(WRONG) if level == 130 else Answer(None)

    question = ScriptedQuestion(loss=lambda level: level, doubt=lambda level: True, answer=answer)
    unparsable = searched(question, [110, 120])
    assert unparsable.answer == Answer(None)
    assert unparsable.image.flat[0] == 110
    wrong = searched(question, [110, 130, 140])
    assert wrong.answer == Answer(WRONG)
    assert wrong.image.flat[0] == 130


def test_the_same_8_bit_image_is_checked_once() -> None:
    question = ScriptedQuestion(loss=lambda level: level, doubt=lambda level: True)
    searched(question, [120, 120.2, 119.9, 121])
    assert question.asked == [120, 121]


def test_generated_answers_are_checked_at_intervals_with_the_best_image_of_each() -> None:
    question = ScriptedQuestion(
        loss=lambda level: level, doubt=lambda level: True, answer=lambda level: Answer(RIGHT, "said")
    )
    levels = [101, 110, 130, 120, 111, 112, 140, 115]
    result = searched(question, levels)
    assert GENERATION_INTERVAL == 5
    # The first at once, the best of the next five, the best of the rest at the end.
    assert question.asked == [101, 130, 140]
    assert result.checks == 3


class Writing(ScriptedQuestion):
    """Answers in words; in company it says what `hasty` says. Losses stay those of scores."""

    def __init__(self, hasty: Callable[[int], Answer], **settings: Any) -> None:
        super().__init__(**settings)
        self._hasty = hasty
        self.hasty: list[int] = []

    def answer(self, images: Sequence[np.ndarray], *, exact: bool = True) -> list[Answer]:
        if exact:
            return super().answer(images)
        levels = [int(image.flat[0]) for image in images]
        self.hasty.extend(levels)
        return [self._hasty(level) for level in levels]


@pytest.mark.parametrize("claimed", [Answer(WRONG, "said"), Answer(None, "said")])
def test_only_what_claims_a_success_is_answered_exactly(
    claimed: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medrobust_bench.attacks.search.loss_at", scripted_loss)
    right, wrong = Answer(RIGHT, "said"), Answer(WRONG, "said")
    question = Writing(
        lambda level: claimed if level > 120 else right,
        loss=lambda level: level,
        doubt=lambda level: True,
        answer=lambda level: wrong if level > 130 else right,
    )
    question.generation = SimpleNamespace()  # type: ignore[assignment]
    (result,) = settled([searched(question, [110, *[125] * 5, *[140] * 5])], question)
    assert question.hasty == [110, 125, 140]
    assert question.asked == [125, 140], "a claim that does not hold does not break the question"
    assert result.answer == wrong
    assert result.image.flat[0] == 140
    assert result.checks == 3


def test_a_question_needs_no_company_to_be_answered_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medrobust_bench.attacks.search.loss_at", scripted_loss)
    right, wrong = Answer(RIGHT, "said"), Answer(WRONG, "said")
    batches: list[list[int]] = []

    class Counted(Writing):
        def answer(self, images: Sequence[np.ndarray], *, exact: bool = True) -> list[Answer]:
            if not exact:
                batches.append([int(image.flat[0]) for image in images])
            return super().answer(images, exact=exact)

    question = Counted(
        lambda level: wrong if level in (120, 130) else right,
        loss=lambda level: level,
        doubt=lambda level: True,
        answer=lambda level: wrong,
    )
    question.generation = SimpleNamespace()  # type: ignore[assignment]
    result = searched(question, [110, *[115] * 5, *[120] * 5, *[130] * 5, *[140] * 5])
    assert batches == [[110, 115], [120, 130]]
    assert question.asked == [120], "the first image that breaks a question counts, and no other is confirmed"
    assert result.image.flat[0] == 120
    assert result.checks == 4


def generating(question: Writing, monkeypatch: pytest.MonkeyPatch) -> Writing:
    monkeypatch.setattr("medrobust_bench.attacks.search.loss_at", scripted_loss)
    question.generation = SimpleNamespace()  # type: ignore[assignment]
    return question


def test_the_last_image_of_a_search_waits_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = Answer(RIGHT, "said"), Answer(WRONG, "said")
    question = generating(
        Writing(
            lambda level: wrong if level == 120 else right,
            loss=lambda level: level,
            doubt=lambda level: True,
            answer=lambda level: wrong,
        ),
        monkeypatch,
    )
    first = searched(question, [120])
    assert (first.answer, question.hasty, question.asked) == (None, [], [])
    assert [one.image.flat[0] for one in first.waiting] == [120]
    later = searched(question, [130])
    merged = merge_results(first, later)
    assert [(one.image.flat[0], one.attempt) for one in merged.waiting] == [(120, 0), (130, 1)]
    (result,) = settled([merged], question)
    assert question.hasty == [120, 130]
    assert question.asked == [120]
    assert (result.image.flat[0], result.answer, result.checks, result.waiting) == (120, wrong, 2, ())
    assert [attempt.broken for attempt in result.attempts] == [True, False]
    assert settled([result], question) == [result]


def test_an_image_that_waits_alone_is_asked_with_the_one_of_the_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Answer(RIGHT, "said")
    question = generating(
        Writing(
            lambda level: right,
            loss=lambda level: {110: 3.0, 120: 1.0}[round(level)],
            doubt=lambda level: level > 115,
        ),
        monkeypatch,
    )
    result = searched(question, [110, 120])
    assert [one.image.flat[0] for one in result.waiting] == [120]
    (settled_result,) = settled([result], question)
    assert (question.hasty, settled_result.answer, settled_result.image.flat[0]) == ([120, 110], None, 110)


def test_what_waits_at_the_end_of_a_run_is_asked_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = Answer(RIGHT, "said"), Answer(WRONG, "said")
    question = generating(
        Writing(
            lambda level: wrong if level == 120 else right,
            loss=lambda level: level,
            doubt=lambda level: True,
            answer=lambda level: wrong,
        ),
        monkeypatch,
    )
    search = started(question)
    for level in (120, 130):
        search.try_images(torch.full((1, 3, 1, 1), level / 255))
        search.flush()
        search.begin(question)
    (result,) = search.results()
    assert question.hasty == [120, 130]
    assert result.image.flat[0] == 120
    assert [attempt.broken for attempt in result.attempts] == [True, True]


def test_a_loss_that_is_not_a_number_is_still_checked() -> None:
    question = ScriptedQuestion(
        loss=lambda level: float("nan"), doubt=lambda level: True, answer=lambda level: Answer(WRONG)
    )
    assert searched(question, [120]).answer == Answer(WRONG)


def test_pixels_are_brought_into_range() -> None:
    seen: list[float] = []
    question = ScriptedQuestion(loss=lambda level: seen.append(level) or 0.0)
    searched(question, [256])
    assert seen == [255]


def test_lengths_must_agree() -> None:
    question = ScriptedQuestion(loss=lambda level: 0.0)
    with pytest.raises(ValueError, match="1 questions, 2 budgets"):
        Search(question, [LinfBudget(Fraction(1))] * 2)


def test_whoever_watches_is_told_of_every_image_and_whether_it_flipped() -> None:
    question = ScriptedQuestion(loss=lambda level: level)
    seen: list[tuple[str, float, bool]] = []
    search = started(
        question, watch=lambda asked, image, flipped: seen.append((asked.id, float(image.mean()), flipped))
    )
    for level in (0.25, 0.5):
        search.try_images(torch.full((1, 3, 1, 1), level))
    assert seen == [("scripted", 0.25, False), ("scripted", 0.5, False)]

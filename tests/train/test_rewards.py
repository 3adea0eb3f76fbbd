"""Rewards as plain functions: what earns them, and that nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.question import LETTERS, Question
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.specs.vocabulary import Modality, QuestionType
from medrobust_bench.train.rewards import (
    Rollout,
    TrlReward,
    agreement,
    consistency,
    correctness,
    dependence,
    stated_option,
    strict_format,
    weighted_rewards,
)
from medrobust_bench.train.rl_settings import RewardWeights

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = ("cyst", "brain cyst", "edema", "no finding")


def question(answer: int = 1, options: tuple[str, ...] = OPTIONS) -> Question:
    return Question(
        id="q",
        image=ImageBytes(b""),
        text="What is seen?",
        options=options,
        answer=answer,
        modality=Modality.CT,
        question_type=QuestionType.DIAGNOSIS,
        dataset="toy",
    )


def reasoned(completion: str, **fields: int) -> Rollout:
    clean = fields.pop("clean_choice", None)
    return Rollout(completion, question(**fields), AnswerMode.REASONING, clean)


plain = st.text(alphabet=st.characters(exclude_characters="<>"), max_size=30)


@given(plain, st.integers(0, 3), st.integers(0, 3))
def test_only_the_right_letter_in_the_strict_format_is_correct(rationale: str, said: int, right: int) -> None:
    rollout = reasoned(STRATEGIES[AnswerMode.REASONING].write(rationale, LETTERS[said]), answer=right)
    assert correctness(rollout) == float(said == right)
    assert strict_format(rollout) == 1


@given(st.text(max_size=60))
def test_rewards_are_bounded_and_correct_implies_well_formed(text: str) -> None:
    for mode in (AnswerMode.REASONING, AnswerMode.LETTER):
        rollout = Rollout(text, question(), mode, clean_choice=2)
        values = [reward(rollout) for reward in (correctness, strict_format, consistency, agreement)]
        assert set(values) <= {0.0, 1.0}
        assert correctness(rollout) <= strict_format(rollout)
        assert consistency(rollout) <= strict_format(rollout)


@pytest.mark.parametrize(
    "written",
    [
        "B",
        "<answer>B</answer>",
        "<think>a</think><answer>B</answer> B",
        "<think>a</think><answer>A</answer><think>a</think><answer>B</answer>",
        "<think>a</think><answer>E</answer>",
        "<think>a</think><answer>b</answer>",
    ],
)
def test_what_breaks_the_format_earns_nothing(written: str) -> None:
    assert correctness(reasoned(written)) == strict_format(reasoned(written)) == 0


@pytest.mark.parametrize(
    ("written", "choice"), [("B", 1), (" B\n", 1), ("B.", None), ("E", None), ("", None)]
)
def test_a_letter_model_writes_the_letter_alone(written: str, choice: int | None) -> None:
    assert Rollout(written, question(), AnswerMode.LETTER).choice == choice


@pytest.mark.parametrize(
    ("rationale", "stated"),
    [
        ("A) cyst: no. B) brain cyst: yes.", 1),
        ("A) cyst: yes. B) brain cyst: yes.", None),
        ("A) cyst: no.", None),
        ("There is a brain cyst.", 1),
        ("There is a Cyst.", 0),
        ("A cyst, a brain cyst beside it.", None),
        ("Cystic, nothing else.", None),
    ],
)
def test_the_stated_option_is_affirmed_or_named_alone(rationale: str, stated: int | None) -> None:
    assert stated_option(reasoned(STRATEGIES[AnswerMode.REASONING].write(rationale, "A"))) == stated


@given(st.integers(0, 3), st.integers(0, 3))
def test_consistency_looks_at_the_rationale_and_not_at_the_truth(stated: int, said: int) -> None:
    rollout = reasoned(STRATEGIES[AnswerMode.REASONING].write(f"I see: {OPTIONS[stated]}.", LETTERS[said]))
    assert consistency(rollout) == float(stated == said)


@given(st.integers(0, 3), st.none() | st.integers(0, 3))
def test_agreement_is_with_the_clean_answer_where_there_is_one(said: int, clean: int | None) -> None:
    rollout = Rollout(LETTERS[said], question(), AnswerMode.LETTER, clean)
    assert agreement(rollout) == (None if clean is None else float(said == clean))


@given(st.integers(0, 3), st.none() | st.integers(0, 3))
def test_dependence_pays_for_what_is_right_here_and_answered_otherwise_there(
    said: int, elsewhere: int | None
) -> None:
    rollout = Rollout(LETTERS[said], question(1), AnswerMode.LETTER, None, elsewhere, True)
    assert dependence(rollout) == float(said == 1 and elsewhere != 1)
    assert dependence(Rollout(LETTERS[said], question(1), AnswerMode.LETTER)) is None


def test_by_heart_earns_no_dependence_on_either_image_of_a_pair() -> None:
    for said in range(4):
        earned = [
            dependence(Rollout(LETTERS[said], question(right), AnswerMode.LETTER, None, said, True))
            for right in (1, 2)
        ]
        assert earned == [0.0, 0.0]


def test_trl_gets_one_reward_per_completion_and_openings_count() -> None:
    completion = STRATEGIES[AnswerMode.REASONING].write("x", "B")
    rows = {
        "completions": [[{"role": "assistant", "content": text}] for text in (completion[7:], completion)],
        "question": [question()] * 2,
        "opening": ["<think>", ""],
        "clean_choice": [None, None],
        "counterpart_choice": [None, 1],
        "paired": [False, True],
        "trainer_state": object(),
    }
    reward = TrlReward(correctness, AnswerMode.REASONING)
    assert reward(**rows) == [1.0, 1.0]
    assert TrlReward(dependence, AnswerMode.REASONING)(**rows) == [None, 0.0]
    assert reward.__name__ == "correctness"


def test_rewards_without_weight_are_left_out_but_those_always_logged() -> None:
    def names(**weights: float) -> list[str]:
        rewards: list[Callable[..., object]] = list(
            weighted_rewards(RewardWeights(**weights), AnswerMode.REASONING)[0]
        )
        return [reward.__name__ for reward in rewards]

    assert names(strict_format=0) == ["correctness", "strict_format"]
    assert names(agreement=0.1) == ["correctness", "strict_format", "agreement"]

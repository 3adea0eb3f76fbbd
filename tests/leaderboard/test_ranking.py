"""Ranks: what a paired test tells apart on the whole board, families counted once."""

from __future__ import annotations

import numpy as np
import pytest

from medrobust_bench.leaderboard.answers import Answers, Counted
from medrobust_bench.leaderboard.ranking import Contestant, Rank, ranks


def contestant(name: str, right: int, n: int = 100, *, first: int = 0, unsteady: int = 0) -> Contestant:
    """Right on the questions from `first` on."""
    answers = {f"q{k}": Counted(float(first <= k < first + right), f"i{k}") for k in range(n)}
    return Contestant(name, answers, unsteady)


def rank_of(*contestants: Contestant) -> list[int]:
    return [rank.first for rank in ranks(contestants)]


def test_what_the_test_tells_apart_is_ranked_apart_and_the_rest_shares() -> None:
    assert rank_of(contestant("a", 90), contestant("b", 50), contestant("c", 49), contestant("d", 10)) == [
        1,
        2,
        2,
        4,
    ]
    assert ranks([contestant("a", 90), contestant("b", 88)]) == [Rank(1, 2), Rank(1, 2)]
    assert str(Rank(1, 2)) == "1 (1–2)"
    assert str(Rank(3, 3)) == "3"


def test_one_model_alone_is_first() -> None:
    assert ranks([contestant("a", 3)]) == [Rank(1, 1)]


def test_a_family_counts_once_however_many_models_it_enters() -> None:
    rival, me = contestant("rival", 60), contestant("me", 58)
    puppets = [contestant("puppets", 95 + k) for k in range(4)]
    assert rank_of(*puppets, rival, me)[-2:] == [2, 2]


def test_models_of_a_family_are_ranked_behind_their_own_best_once() -> None:
    assert rank_of(contestant("us", 90), contestant("us", 40), contestant("us", 5)) == [1, 2, 2]


@pytest.mark.parametrize("entered", [1, 3, 12])
def test_what_a_family_enters_changes_nothing_between_two_others(entered: int) -> None:
    """Between rival and me, just told apart, whatever the third family sends."""
    level = 0.05 / 6
    discordant = next(k for k in range(1, 60) if 2 * 0.5**k <= level)
    rival, me = contestant("rival", 60), contestant("me", 60 - discordant)
    barely = contestant("me", 60 - discordant + 1)
    puppets = [contestant("puppets", 3 * k, first=50) for k in range(entered)]
    assert rank_of(rival, me, *puppets)[1] > rank_of(rival, me, *puppets)[0]
    assert rank_of(rival, barely, *puppets)[1] == rank_of(rival, barely, *puppets)[0]


def test_an_unsteady_model_does_not_lift_itself() -> None:
    assert rank_of(contestant("a", 80), contestant("b", 20, unsteady=100)) == [1, 2]
    assert rank_of(contestant("a", 80, unsteady=60), contestant("b", 20)) == [1, 1]
    assert rank_of(contestant("a", 80, unsteady=59), contestant("b", 20)) == [1, 2]


def test_other_questions_tell_nothing_apart() -> None:
    other = {name.replace("q", "x"): answer for name, answer in contestant("b", 0).answers.items()}
    assert rank_of(contestant("a", 100), Contestant("b", other)) == [1, 1]


def test_questions_about_one_image_are_not_independent() -> None:
    """Ten lost questions about ten images tell apart what ten about one image do not."""
    better: Answers = {f"q{k}": Counted(1.0, f"i{k}") for k in range(40)}
    worse = {name: Counted(float(k >= 12), one.image) for k, (name, one) in enumerate(better.items())}
    assert rank_of(Contestant("a", better), Contestant("b", worse)) == [1, 2]
    together = [
        {
            name: Counted(one.right, "i" if k < 12 else one.image)
            for k, (name, one) in enumerate(answers.items())
        }
        for answers in (better, worse)
    ]
    assert rank_of(*(Contestant(str(k), answers) for k, answers in enumerate(together))) == [1, 1]


def test_shares_of_corrupted_images_are_compared_not_clean_sheets() -> None:
    """No question is right under every fault, and yet one model is plainly better."""
    better = {f"q{k}": Counted((14 + k % 3) / 17, f"i{k}") for k in range(40)}
    worse = {f"q{k}": Counted((9 + k % 3) / 17, f"i{k}") for k in range(40)}
    alike = {f"q{k}": Counted((14 + (k + 1) % 3) / 17, f"i{k}") for k in range(40)}
    boards = [Contestant(str(k), answers) for k, answers in enumerate((better, worse, alike))]
    assert rank_of(*boards) == [1, 3, 1]


def test_equally_good_models_are_seldom_told_apart_anywhere() -> None:
    """300 boards of eight: at most 5 %; twelve of chance 0.05 would be a surprise of one in a thousand."""
    draw = np.random.default_rng(0)
    separated = 0
    for _ in range(300):
        rights = draw.uniform(size=(8, 60)) < 0.8
        board = [
            Contestant(str(row), {f"q{k}": Counted(float(right), f"i{k}") for k, right in enumerate(line)})
            for row, line in enumerate(rights)
        ]
        separated += len(set(rank_of(*board))) > 1
    assert separated <= 0.05 * 300

"""Models in half precision, whose gradients may be too coarse to break what stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.replay import Wish, replay_with
from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.runs.audit.precision import IN_FLOAT32
from medrobust_bench.runs.run import load_run
from tests.leaderboard.conftest import card
from tests.leaderboard.forgery import Forgery, Line, reasons, standing
from tests.linear import LinearQuestions
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.verification import Verdict
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import ModelRecord


class RoundedQuestions(LinearQuestions):
    """Questions whose scores are rounded to bfloat16, to be had in float32 as well."""

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().scores(pixels).bfloat16().float()

    def upcast(self) -> LinearQuestions:
        return LinearQuestions.of(self)


class RoundedAdapter(SchooledAdapter):
    """A toy in half precision."""

    @property
    def record(self) -> ModelRecord:
        return super().record.model_copy(update={"dtype": "bfloat16"})

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        return RoundedQuestions.of(super().bind(questions))


TOY = RoundedAdapter("rounded", lean=0.5)


@pytest.fixture
def known() -> dict[str, Card]:
    return {TOY.name: card(TOY).model_copy(update={"dtype": "bfloat16"})}


def submitted(root: Path, threat: str, *, twice: bool) -> Path:
    run = make_run(root / "run", TOY, threats=(threat,), limit=12, float32_attack=twice)
    (path,) = submit(load_run(run), root / "submissions")
    return path


def found(verdict: Verdict) -> str | None:
    assert verdict.accepted, verdict.faults
    assert verdict.case is not None
    audit = verdict.case.entry.result.audit
    return next((one.verdict for one in audit if one.check == IN_FLOAT32.name), None)


def test_what_stands_was_attacked_in_float32_as_well(tmp_path: Path, known: dict[str, Card]) -> None:
    verdict = verify(submitted(tmp_path, "pgd-linf", twice=True), cards=known)
    assert found(verdict) == "pass"
    assert "weaker attack" not in "\n".join(verdict.unranked)


def test_an_attack_in_half_precision_only_is_told_not_ranked_and_done_again_as_it_was(
    tmp_path: Path, known: dict[str, Card]
) -> None:
    verdict = verify(submitted(tmp_path, "pgd-linf", twice=False), cards=known)
    assert found(verdict) == "warn"
    assert "a weaker attack than the others met" in "\n".join(verdict.unranked)
    assert verdict.case is not None
    again = replay_with(TOY, verdict.case, Wish(seed=1, count=200))
    assert again.agrees, again.lines()


def twice(line: Line) -> None:
    line.update(
        attempts=2 * line["attempts"],
        forward_passes=2 * line["forward_passes"],
        backward_passes=2 * line["backward_passes"],
    )


def test_a_second_attack_that_is_the_first_one_again(tmp_path: Path, known: dict[str, Card]) -> None:
    path = submitted(tmp_path, "pgd-linf", twice=False)
    made = Forgery(path.parents[2], tmp_path / "forged", path.parent.name, TOY.name)
    made.journal(standing(twice))
    assert "losses: the attack in float32 met the very losses of the one in bfloat16" in reasons(
        made.save(), known
    )


def test_a_second_attack_that_is_only_claimed(tmp_path: Path, known: dict[str, Card]) -> None:
    path = submitted(tmp_path, "pgd-linf", twice=False)
    made = Forgery(path.parents[2], tmp_path / "forged", path.parent.name, TOY.name)
    made.result["audit"] = [one for one in made.result["audit"] if one["check"] != IN_FLOAT32.name]
    assert f"audit: {IN_FLOAT32.name} is left out" in reasons(made.save(), known)


def test_one_patch_for_all_images_is_laid_on_once(tmp_path: Path, known: dict[str, Card]) -> None:
    """Nobody follows a gradient on these questions: there is nothing that float32 would find."""
    path = submitted(tmp_path, "patch-universal:training=2,epochs=1", twice=True)
    assert found(verify(path, cards=known)) is None

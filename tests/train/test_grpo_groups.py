"""Groups of rollouts that teach nothing: counted, passed over, and warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.callbacks import PATIENCE, UnvaryingRewards
from medrobust_bench.train.reinforcement import reinforce
from tests.train.conftest import SMALL, attentive_model
from tests.train.grpo import recipe_of, trainer_of

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question


def test_groups_that_teach_nothing_are_counted_though_their_deviation_is_rounded(
    base: Path, questions: tuple[Question, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medrobust_bench.train import at_grpo

    def first_group_alone_differs(*, completions: Any, **columns: Any) -> list[float]:
        return [float(row != 0) for row in range(len(completions))]

    def always(*, completions: Any, **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    monkeypatch.setattr(
        at_grpo, "weighted_rewards", lambda *_: ([first_group_alone_differs, always], [1.0, 0.2])
    )
    settings = recipe_of(base, steps=1, prompts=4, group=8)
    trainer = trainer_of(settings, questions, tmp_path)
    trainer.args.reward_weights = [1.0, 0.2]
    trainer.reward_weights = torch.tensor([1.0, 0.2])
    trainer.train()
    assert trainer.state.log_history[0]["groups_without_variance"] == pytest.approx(3 / 4)


def test_dynamic_sampling_trains_on_the_groups_that_differ(
    base: Path, questions: tuple[Question, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medrobust_bench.train import at_grpo

    def second_and_third_group_differ(*, completions: Any, **columns: Any) -> list[float]:
        return [float(row not in (4, 11)) for row in range(len(completions))]

    rewards = [second_and_third_group_differ] * 2
    monkeypatch.setattr(at_grpo, "weighted_rewards", lambda *_: (rewards, [1.0, 0.2]))
    trainer = trainer_of(recipe_of(base, oversample=2, micro_batch=4), questions, tmp_path)
    drawn: list[list[dict[str, Any]]] = []
    trained: list[dict[str, Any]] = []
    replace_images, loss_of = trainer._perturbed, trainer._compute_loss

    def watched(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        drawn.append(replace_images(inputs))
        return drawn[-1]

    def counted(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        trained.append(inputs)
        loss: torch.Tensor = loss_of(model, inputs)
        return loss

    trainer._perturbed, trainer._compute_loss = watched, counted
    trainer.train()
    processor = trainer.processing_class.image_processor
    assert len(drawn) == 2
    assert len(trained) == 4
    for number, rows in enumerate(drawn):
        assert [row["question"].id for row in rows] == [
            rows[4 * group]["question"].id for group in range(4) for _ in range(4)
        ]
        passes = trained[2 * number :][:2]
        pixels = [one.numpy().tobytes() for part in passes for one in part["pixel_values"].chunk(4)]
        shown = [
            processor(images=row["images"], return_tensors="pt").pixel_values.numpy().tobytes()
            for row in rows[4:12]
        ]
        assert sorted(pixels) == sorted(shown)
        advantages = torch.cat([part["advantages"] for part in passes])
        assert (advantages.abs() > 0.1).all()
        tokens = sum(int(part["completion_mask"].sum()) for part in passes)
        assert [int(part["num_items_in_batch"]) for part in passes] == [tokens] * 2
        logged = trainer.state.log_history[number]
        assert logged["groups_without_variance"] == pytest.approx(1 / 2)
        assert logged["kept_without_variance"] == 0
    assert len({row["question"].id for rows in drawn for row in rows}) == 8


@pytest.mark.parametrize(
    ("format_rate", "named"),
    [(0.0, "medrobust train sft"), (0.9, "raise temperature")],
    ids=["format", "easy"],
)
def test_groups_that_never_differ_are_warned_of_after_some_steps_and_at_the_end(
    format_rate: float, named: str
) -> None:
    said: list[str] = []
    watch = UnvaryingRewards(AnswerMode.REASONING, said.append)
    dead = {"group_variance": 1e-14, "format_rate": format_rate}
    for _ in range(PATIENCE):
        assert said == []
        watch.on_log(None, None, None, logs=dead)
    watch.on_log(None, None, None, logs={"train_runtime": 3.0})
    watch.on_train_end(None, None, None)
    assert len(said) == 2
    assert all(line.startswith("warning: ") and named in line for line in said)
    assert "the whole training" in said[1]


def test_groups_that_differ_now_and_then_are_not_warned_of() -> None:
    said: list[str] = []
    watch = UnvaryingRewards(AnswerMode.REASONING, said.append)
    for step in range(5 * PATIENCE):
        variance = 0.1 if step % PATIENCE == 3 else 0.0
        watch.on_log(None, None, None, logs={"group_variance": variance, "format_rate": 0.0})
    watch.on_train_end(None, None, None)
    assert said == []


def test_a_base_that_never_wrote_the_format_is_named_at_the_end(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    attentive_model(tokenizer).save_pretrained(tmp_path / "start")
    build_processor(SMALL, tokenizer).save_pretrained(tmp_path / "start")
    settings = recipe_of(tmp_path / "start", mode="reasoning", steps=1, trl={})
    said: list[str] = []
    reinforce(settings, tmp_path / "out", report=said.append)
    assert any("medrobust train sft" in line and "`reason`" in line for line in said)

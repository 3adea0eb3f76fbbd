"""AT-GRPO on TRL: one attacked image per group, everywhere; otherwise TRL's GRPO, and a run that can be resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from medrobust_bench.data.image import canonical
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.checkpoints import CHECKPOINTS
from medrobust_bench.train.examples import build_example
from medrobust_bench.train.grpo_arguments import grpo_arguments
from medrobust_bench.train.inner_attack import prompt_seed
from medrobust_bench.train.perturb_batch import BatchPerturbation
from medrobust_bench.train.prompts import prompt_rows
from medrobust_bench.train.recipe import write_recipe
from medrobust_bench.train.reinforcement import reinforce
from medrobust_bench.train.rewards import weighted_rewards
from medrobust_bench.train.settings import CURVE_FILE, SftSettings
from medrobust_bench.train.tasks import Task
from medrobust_bench.train.validation import answer_together
from tests.models.families import FAMILIES, spread_weights
from tests.train.grpo import digest, parts, quiet, recipe_of, trainer_of, weights_of

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question


def test_a_group_sees_one_attacked_image_and_so_does_the_loss(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    trainer = trainer_of(recipe_of(base, steps=1, micro_batch=4), questions, tmp_path)
    perturbed: list[list[dict[str, Any]]] = []
    lost: list[torch.Tensor] = []
    replace_images, loss_of = trainer._perturbed, trainer._compute_loss

    def watched(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        perturbed.append(replace_images(inputs))
        for before, after in zip(inputs, perturbed[-1], strict=True):
            change = np.asarray(after["images"][0]).astype(int) - np.asarray(before["images"][0])
            assert 0 < np.abs(change).max() <= 8
        return perturbed[-1]

    def counted(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        lost.append(inputs["pixel_values"])
        loss: torch.Tensor = loss_of(model, inputs)
        return loss

    trainer._perturbed, trainer._compute_loss = watched, counted
    trainer.train()
    (rows,) = perturbed
    images = [digest(row) for row in rows]
    assert images == [images[0]] * 4 + [images[4]] * 4
    assert images[0] != images[4]
    processor = trainer.processing_class.image_processor
    shown = {
        processor(images=row["images"], return_tensors="pt").pixel_values.numpy().tobytes() for row in rows
    }
    patches = torch.cat(lost).chunk(8)  # rollouts are shuffled between generation and loss
    assert {one.numpy().tobytes() for one in patches} == shown


def test_exchanged_prompts_are_rewarded_for_what_is_right_on_the_image_that_is_shown(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    recipe = recipe_of(base, attack=None, exchange=1.0, rewards={"dependence": 0.5}, steps=1)
    trainer = trainer_of(recipe, questions, tmp_path)
    owners = {canonical(question.image).tobytes(): question for question in questions}
    rows = [trainer.train_dataset[number] for number in range(len(questions))]
    drawn = trainer._perturbed(rows + rows[:1])
    assert drawn[-1] is drawn[0]
    exchanged = 0
    for before, after in zip(rows, drawn, strict=False):
        shown, question = owners[np.asarray(after["images"][0]).tobytes()], after["question"]
        assert after["prompt"] == before["prompt"]
        assert question.options[question.answer] == shown.options[shown.answer]
        exchanged += shown.id != before["question"].id
        counterpart = trainer._exchange.counterpart(question, prompt_seed(0, question.id, 0))
        assert after["paired"] is (counterpart is not None)
        if counterpart is not None:
            adapter = HuggingFaceVLM(trainer.model, trainer.processing_class, mode=recipe.mode)
            assert after["counterpart_choice"] == answer_together(adapter, [counterpart])[0].choice
    assert exchanged > len(questions) / 8
    trainer.train()
    assert "rewards/dependence/mean" in trainer.state.log_history[0]


def test_both_trainers_take_a_mixture_of_threats(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    attack = {"steps": 1, "mixture": {"patch": "1/10", "corruption": 3}}
    trainer = trainer_of(recipe_of(base, attack=attack, steps=1), questions, tmp_path)
    trainer.train()
    logged = trainer.state.log_history[0]
    shares = [logged[f"attack/{threat}"] for threat in ("ball", "patch", "corruption")]
    assert sum(shares) == pytest.approx(1)
    tuned = SftSettings.model_validate(
        {
            "base": str(base),
            "mode": "letter",
            "attack": attack,
            "stages": [{"steps": 1, "tasks": {"letter": 1}}],
        }
    )
    perturb = BatchPerturbation(trainer.model, trainer.processing_class, tuned)
    examples = [build_example(question, Task.LETTER) for question in questions[:2]]
    for before, after in zip(examples, perturb(examples, 0), strict=True):
        assert not np.array_equal(*(canonical(one.question.image) for one in (before, after)))


def test_with_a_budget_that_rounds_to_nothing_it_is_trls_grpo_step_for_step(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    from trl import GRPOTrainer

    # The whole inner loop runs, but no 8-bit image lies within 1/1000: whatever it left behind would show.
    settings = recipe_of(base, attack={"eps": "1/1000", "steps": 2})
    ours = trainer_of(settings, questions, tmp_path / "ours")
    made = parts(settings, tmp_path / "theirs")
    theirs = GRPOTrainer(
        reward_funcs=weighted_rewards(settings.rewards, settings.mode)[0],
        train_dataset=prompt_rows(questions, settings.mode, made["processing_class"]),
        **made,
    )
    before = weights_of(ours.model)
    assert weights_of(theirs.model) == before
    for trainer in (ours, theirs):
        torch.manual_seed(0)
        trainer.train()
    kept = ("loss", "grad_norm", "reward", "reward_std", "entropy", "num_tokens")
    logs = [[{name: row[name] for name in kept} for row in t.state.log_history[:-1]] for t in (ours, theirs)]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 2
    assert weights_of(ours.model) == weights_of(theirs.model) != before


@pytest.mark.parametrize("family", ["Qwen2.5-VL", "Gemma 3"])
def test_real_architectures_train(
    family: str, questions: tuple[Question, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, processor = FAMILIES[family].build()
    spread_weights(model)
    processor.tokenizer.padding_side = "left"
    model.save_pretrained(tmp_path / "base")
    settings = recipe_of(
        tmp_path / "base", steps=3, attack={"steps": 1, "clean_share": 0.5}, noise={"sigma": 0.1}
    )
    from medrobust_bench.train import at_grpo

    def lengths(*, completions: Any, **columns: Any) -> list[float]:
        return [float(len(turn[0]["content"]) % 3) for turn in completions]

    monkeypatch.setattr(at_grpo, "weighted_rewards", lambda *_: ([lengths, lengths], [1.0, 0.2]))
    trainer = at_grpo.AtGrpoTrainer(
        model,
        questions=questions,
        settings=settings,
        args=grpo_arguments(settings, tmp_path / "out"),
        processing_class=processor,
    )
    before = weights_of(trainer.model)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    assert len(logged) == 3
    assert weights_of(trainer.model) != before
    assert all(np.isfinite(row["loss"]) for row in logged)
    assert all(row["attack/eps"] == pytest.approx(8 / 255) for row in logged)
    assert {"seconds/attack", "seconds/generation", "seconds/update", "group_variance"} <= logged[-1].keys()
    assert any("robust_reward" in row for row in logged)


def test_a_resumed_run_equals_an_unbroken_one(base: Path, tmp_path: Path) -> None:
    attack = {"steps": 1, "warmup_steps": 3}
    settings = recipe_of(base, steps=4, attack=attack, save_every=2, trl={}, validate_every=4)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    reinforce(settings, whole, report=quiet)
    reinforce(settings.model_copy(update={"steps": 2}), broken, report=quiet)
    assert (broken / CHECKPOINTS / "checkpoint-2").is_dir()
    write_recipe(settings, broken)  # as if it had been stopped
    reinforce(settings, broken, resume=True, report=quiet)
    curves = [
        [json.loads(line) for line in (folder / CURVE_FILE).read_text().splitlines()]
        for folder in (whole, broken)
    ]
    assert [row["step"] for row in curves[1]] == [1, 2, 3, 4]
    assert [row["loss"] for row in curves[0]] == [row["loss"] for row in curves[1]]
    for passes in ("passes/forward", "passes/backward"):
        counts = [[row[passes] for row in curve] for curve in curves]
        assert counts[0] == counts[1] == sorted(set(counts[0]))
    models = [AutoModelForImageTextToText.from_pretrained(folder) for folder in (whole, broken)]
    assert weights_of(models[0]) == weights_of(models[1])
    assert {"validation_accuracy", "validation_attacked"} <= curves[1][-1].keys()
    assert all(row["attack/loss_after"] > row["attack/loss_before"] for row in curves[0])
    assert not (whole / "training_args.bin").exists()


def test_low_rank_adapters_train_alone_and_are_merged(base: Path, tmp_path: Path) -> None:
    lora = {"rank": 2, "alpha": 4, "target_modules": ".*language_model.*q_proj"}
    settings = recipe_of(base, steps=2, lora=lora, learning_rate=1e-2)
    reinforce(settings, tmp_path, report=quiet)
    before, after = (
        AutoModelForImageTextToText.from_pretrained(folder).state_dict() for folder in (base, tmp_path)
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("q_proj" in name for name in changed)


@pytest.mark.parametrize("modules", ["nothing_such", ["q_proj", "zzz_proj"]])
def test_adapters_of_modules_that_the_model_has_not_are_refused(
    base: Path, tmp_path: Path, modules: object
) -> None:
    settings = recipe_of(base, lora={"target_modules": modules})
    with pytest.raises(
        InvalidInputError, match=r"lora.target_modules: .*(nothing_such|: zzz_proj) → .* q_proj"
    ):
        reinforce(settings, tmp_path, report=quiet)


def test_another_recipe_is_not_gone_on_with(base: Path, tmp_path: Path) -> None:
    write_recipe(recipe_of(base), tmp_path)
    with pytest.raises(InvalidInputError, match="differs from the recipe given"):
        reinforce(recipe_of(base, learning_rate=1e-4), tmp_path, resume=True, report=quiet)


def test_a_reward_that_asks_processes_unequally_much_needs_whole_weights(
    base: Path, questions: tuple[Question, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medrobust_bench.train import at_grpo

    monkeypatch.setattr(at_grpo, "is_deepspeed_zero3_enabled", lambda: True)
    with pytest.raises(InvalidInputError, match=r"rewards.dependence.*ZeRO-2"):
        trainer_of(recipe_of(base, rewards={"dependence": 0.5}), questions, tmp_path)


@pytest.mark.slow
def test_two_processes_make_the_images_of_one(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    settings = recipe_of(base, prompts=2)
    (tmp_path / "settings.json").write_text(settings.model_dump_json(), encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run(
        [sys.executable, *launch, "-m", "tests.train.two_processes", str(tmp_path)],
        check=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["world"] == 2
    assert first["weights"] == second["weights"]
    assert first["before"] == second["before"]
    assert first["after"] == second["after"]
    assert first["before"] != first["after"]
    assert not first["trained_on"].keys() & second["trained_on"].keys()
    alone = trainer_of(settings, questions, tmp_path / "alone")
    rows = [row for row in alone.train_dataset if row["question"].id in first["before"]]
    assert {row["question"].id: digest(row) for row in alone._perturbed(rows)} == first["before"]

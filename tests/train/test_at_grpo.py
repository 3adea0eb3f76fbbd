"""AT-GRPO on TRL: one attacked image per group, everywhere; otherwise TRL's GRPO, and a run that can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.data.image import ImageBytes, canonical
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.callbacks import PATIENCE, UnvaryingRewards
from medrobust_bench.train.checkpoints import CHECKPOINTS
from medrobust_bench.train.examples import build_example
from medrobust_bench.train.grpo_arguments import grpo_arguments
from medrobust_bench.train.inner_attack import prompt_seed
from medrobust_bench.train.perturb_batch import BatchPerturbation
from medrobust_bench.train.prompts import check_processor, prompt_rows
from medrobust_bench.train.reinforcement import reinforce
from medrobust_bench.train.rewards import weighted_rewards
from medrobust_bench.train.rl_settings import RlSettings
from medrobust_bench.train.settings import CURVE_FILE, SftSettings, Stage, TrainingData
from medrobust_bench.train.sft import fine_tune
from medrobust_bench.train.tasks import Task
from medrobust_bench.train.validation import answer_together
from tests.models.families import FAMILIES, spread_weights
from tests.train.conftest import SMALL, attentive_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question

DATA = TrainingData(per_modality=5, validation_per_modality=1)


def quiet(line: str) -> None:
    """Swallow progress."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A model that has learnt to say a letter and stop, whichever: some rollouts of every group are right."""
    start, out = tmp_path_factory.mktemp("start"), tmp_path_factory.mktemp("base")
    attentive_model(tokenizer).save_pretrained(start)
    build_processor(SMALL, tokenizer).save_pretrained(start)
    recipe = SftSettings(
        base=str(start),
        mode=AnswerMode.LETTER,
        data=DATA,
        stages=(Stage(steps=25, tasks={Task.LETTER: 1.0}),),
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=0,
        evaluate_every=25,
        threads=1,
    )
    fine_tune(recipe, out, report=quiet)
    return out


def recipe_of(base: Path, **fields: Any) -> RlSettings:
    settings: dict[str, Any] = {
        "base": str(base),
        "mode": "letter",
        "data": DATA.model_dump(),
        "attack": {"steps": 2},
        "steps": 2,
        "prompts": 2,
        "group": 4,
        "max_new_tokens": 3,
        "learning_rate": 1e-3,
        "threads": 1,
        "trl": {"save_strategy": "no", "disable_tqdm": True},
    }
    return RlSettings.model_validate({**settings, **fields})


def parts(settings: RlSettings, out: Path) -> dict[str, Any]:
    return {
        "model": AutoModelForImageTextToText.from_pretrained(settings.base, dtype=torch.float32),
        "args": grpo_arguments(settings, out),
        "processing_class": AutoProcessor.from_pretrained(settings.base, padding_side="left"),
    }


def trainer_of(settings: RlSettings, questions: Sequence[Question], out: Path) -> Any:
    from medrobust_bench.train.at_grpo import AtGrpoTrainer

    return AtGrpoTrainer(questions=questions, settings=settings, **parts(settings, out))


def weights_of(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(np.asarray(row["images"][0]).tobytes()).hexdigest()


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


def test_prompts_are_rendered_as_an_evaluation_renders_them(
    base: Path, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    """The date of the day is fixed, and a template that can think or not is told the same."""
    from trl.data_utils import apply_chat_template, prepare_multimodal_messages

    from medrobust_bench.train.at_grpo import AtGrpoTrainer

    recipe = recipe_of(base, attack=None)
    made = parts(recipe, tmp_path)
    processor = made["processing_class"]
    told = "{{- 'Today: ' + strftime_now('%d %b %Y') + (' thinking' if enable_thinking else '') + '\n' -}}\n"
    processor.chat_template = told + processor.chat_template

    trainer: Any = AtGrpoTrainer(questions=questions, settings=recipe, **made)
    row = trainer.train_dataset[0]
    filled = prepare_multimodal_messages(row["prompt"], images=row["images"])
    (tokens,), _, _ = trainer._tokenize_prompts([filled])
    text = STRATEGIES[recipe.mode].prompt(row["question"])
    wanted = chat_prompt(processor, text, thinks=STRATEGIES[recipe.mode].thinks)
    assert wanted.startswith("Today: 26 Jul 2024\n")
    shown = trainer.processing_class(text=[wanted], images=[row["images"]])
    assert tokens == shown["input_ids"][0]
    again = apply_chat_template({"prompt": filled}, trainer.processing_class, **trainer.chat_template_kwargs)
    assert again["prompt"] == wanted
    assert processor.chat_template.startswith(told)  # what is saved in the end is the model's own
    trainer.train()


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


def test_adversarial_fine_tuning_writes_a_checkpoint(base: Path, tmp_path: Path) -> None:
    settings = SftSettings.model_validate(
        {
            "base": str(base),
            "mode": "letter",
            "data": DATA.model_dump(),
            "attack": {"steps": 1, "clean_share": 0.3},
            "noise": {"sigma": 0.1, "share": 0.5},
            "stages": [{"steps": 2, "tasks": {"letter": 1.0}}],
            "batch_size": 4,
            "evaluate_every": 2,
            "threads": 1,
        }
    )
    fine_tune(settings, tmp_path, report=quiet)
    curve = [json.loads(line) for line in (tmp_path / CURVE_FILE).read_text().splitlines()]
    assert {"validation_accuracy", "validation_attacked"} <= curve[-1].keys()
    models = [AutoModelForImageTextToText.from_pretrained(folder) for folder in (base, tmp_path)]
    assert weights_of(models[0]) != weights_of(models[1])


def test_a_processor_that_pads_on_the_right_or_hides_the_tags_is_refused(base: Path) -> None:
    processor = AutoProcessor.from_pretrained(base)
    check_processor(processor, AnswerMode.REASONING)
    processor.tokenizer.padding_side = "right"
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    with pytest.raises(InvalidInputError) as caught:
        check_processor(processor, AnswerMode.REASONING)
    assert len(caught.value.problems) == 2
    assert "pads on the right" in str(caught.value)
    check_processor(AutoProcessor.from_pretrained(base), AnswerMode.LETTER)


def test_rows_are_opened_once_per_group_and_carry_the_question(
    base: Path, questions: tuple[Question, ...]
) -> None:
    processor = AutoProcessor.from_pretrained(base)
    opened = []

    class Watched:
        name = "watched"

        def open(self) -> Any:
            opened.append(1)
            return questions[0].image.open()

        def digest(self) -> str:
            return ""

    rows = prompt_rows([replace(questions[0], image=Watched()), questions[1]], AnswerMode.LETTER, processor)
    rows.__getitems__([0])  # the first time a question is asked for, it is seen whether it can be used
    opened.clear()
    batch = rows.__getitems__([0, 0, 0, 1])
    assert len(opened) == 1
    assert [row["question"].id for row in batch] == [questions[0].id] * 3 + [questions[1].id]
    assert batch[0]["prompt"][0]["content"][0] == {"type": "image"}


def test_a_question_that_cannot_be_used_gives_its_place_to_the_next(
    base: Path, questions: tuple[Question, ...]
) -> None:
    processor = AutoProcessor.from_pretrained(base)
    broken = replace(questions[0], image=ImageBytes(b"no image at all", name="broken.png"))
    told: list[dict[str, str]] = []
    rows = prompt_rows([broken, questions[1]], AnswerMode.LETTER, processor, checked=told.append)
    batch = rows.__getitems__([0, 0, 1])
    assert [row["question"].id for row in batch] == [questions[1].id] * 3
    assert [list(reasons) for reasons in told] == [[broken.id], []]
    assert told[0][broken.id]
    with pytest.raises(InvalidInputError, match="no question can be used"):
        prompt_rows([broken], AnswerMode.LETTER, processor).__getitems__([0])


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

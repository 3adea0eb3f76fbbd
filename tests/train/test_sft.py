"""Supervised fine-tuning from recipe to loadable checkpoint."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer

from medrobust_bench.cli import main
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import ImageBytes, canonical
from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.checkpoints import last_checkpoint
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.examples import NOT_LEARNT, build_example
from medrobust_bench.train.inner_attack import InnerAttack
from medrobust_bench.train.lora import LoraSettings
from medrobust_bench.train.perturb_batch import BatchPerturbation
from medrobust_bench.train.questions import SkippedQuestions, checkpoint_path, training_questions
from medrobust_bench.train.recipe import read_sft_recipe
from medrobust_bench.train.settings import (
    CURVE_FILE,
    RECIPE_FILE,
    SKIPPED_FILE,
    AttackSettings,
    NoiseSettings,
    SftSettings,
    Stage,
    Task,
    TrainingData,
)
from medrobust_bench.train.sft import completion_loss, fine_tune
from medrobust_bench.train.trainer_arguments import fine_tuning_arguments
from medrobust_bench.train.validation import answer_together
from tests.train.conftest import DATA
from tests.train.fine_tuning import TINY, weights
from tests.train.grpo import quiet, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.train.examples import Example


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkpoint")
    fine_tune(TINY, out, report=quiet)
    return out


def test_the_loss_is_the_weighted_sum_per_learnt_token() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3.0)], [9.0, 9.0]]])  # p = 1/2, 1/2 then 1/4, 3/4
    labels = torch.tensor([[1, 0, NOT_LEARNT]])
    weights = torch.tensor([[1.0, 5.0, 0.0]])
    whole = math.log(2.0) + 5 * math.log(4.0)
    assert completion_loss(logits, labels, weights, 2).item() == pytest.approx(whole / 2)
    assert completion_loss(logits, labels, weights, 7).item() == pytest.approx(whole / 7)


def test_the_checkpoint_answers_and_carries_its_recipe_and_curve(checkpoint: Path) -> None:
    assert read_sft_recipe(str(checkpoint / RECIPE_FILE)) == TINY
    curve = [json.loads(line) for line in (checkpoint / CURVE_FILE).read_text().splitlines()]
    assert curve[-1]["step"] == TINY.steps
    assert 0 <= curve[-1]["validation_accuracy"] <= 1
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    questions = phantom_questions("test", per_modality=1)
    adapter = HuggingFaceVLM(model, processor, mode=AnswerMode.REASONING, max_new_tokens=4)
    assert len(answer_together(adapter, questions)) == len(questions)


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(
    checkpoint: Path, tmp_path: Path
) -> None:
    first = AutoModelForImageTextToText.from_pretrained(checkpoint).state_dict()
    for seed, equal in ((0, True), (1, False)):
        fine_tune(TINY.model_copy(update={"seed": seed}), tmp_path / str(seed), report=quiet)
        again = AutoModelForImageTextToText.from_pretrained(tmp_path / str(seed)).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in first.items()) is equal


@pytest.mark.parametrize("noise", [None, NoiseSettings(sigma=0.1)], ids=["plain", "perturbed"])
def test_a_resumed_training_equals_an_unbroken_one(tmp_path: Path, noise: NoiseSettings | None) -> None:
    recipe = TINY.model_copy(update={"evaluate_every": 1, "noise": noise})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fine_tune(recipe, whole, report=quiet)

    def stop_in_the_third(line: str) -> None:
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(recipe, broken, report=stop_in_the_third)
    with pytest.raises(InvalidInputError, match="differs from the recipe given"):
        fine_tune(recipe.model_copy(update={"seed": 9}), broken, resume=True, report=quiet)
    said: list[str] = []
    fine_tune(recipe, broken, resume=True, report=said.append)
    assert "resumed after step 2" in said
    curves = [StepLog(folder / CURVE_FILE).entries() for folder in (whole, broken)]
    assert [entry["step"] for entry in curves[1]] == [1, 2, 3, 4]
    assert [entry["loss"] for entry in curves[0]] == [entry["loss"] for entry in curves[1]]
    for passes in ("passes/forward", "passes/backward"):
        assert [entry[passes] for entry in curves[0]] == [entry[passes] for entry in curves[1]]
        assert curves[0][0][passes] > 0
    models = [AutoModelForImageTextToText.from_pretrained(folder).state_dict() for folder in (whole, broken)]
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in broken.iterdir())
    with pytest.raises(InvalidInputError, match="no unfinished training"):
        fine_tune(recipe, broken, resume=True, report=quiet)


def test_training_goes_on_from_a_checkpoint_in_another_mode(checkpoint: Path, tmp_path: Path) -> None:
    recipe = SftSettings(
        base=str(checkpoint),
        mode=AnswerMode.LETTER,
        data=TINY.data,
        stages=(Stage(steps=30, tasks={Task.LETTER: 1.0}),),
        batch_size=8,
        learning_rate=1e-2,
        warmup_steps=0,
        evaluate_every=30,
        threads=1,
    )
    fine_tune(recipe, tmp_path, report=quiet)
    losses = [json.loads(line)["loss"] for line in (tmp_path / CURVE_FILE).read_text().splitlines()]
    assert losses[-1] < losses[0] / 2  # letter and end of turn are soon known to be all there is to say


def test_batched_choices_equal_single_ones(checkpoint: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    questions = phantom_questions("test", per_modality=2)
    for mode in (AnswerMode.REASONING, AnswerMode.LETTER):
        adapter = HuggingFaceVLM(model, processor, mode=mode, max_new_tokens=8)
        together = answer_together(adapter, questions, batch_size=16)
        assert together == answer_together(adapter, questions, batch_size=1)
        bound = adapter.bind(questions)
        assert together == bound.answer(bound.batch.images), "training validates on the deployed path"


def test_a_base_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not a checkpoint"):
        checkpoint_path(str(tmp_path))
    assert checkpoint_path("someone/some-model") == "someone/some-model"


def test_an_adapter_folder_as_base_is_named_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    with pytest.raises(InvalidInputError, match="LoRA adapter") as caught:
        checkpoint_path(str(tmp_path))
    assert "merge_and_unload" in str(caught.value)
    assert "some/base" in str(caught.value)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(InvalidInputError, match="its base"):
        checkpoint_path(str(tmp_path))


def test_a_checkpoint_that_was_cut_off_while_written_is_passed_over(tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"evaluate_every": 1})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fine_tune(recipe, whole, report=quiet)

    def stop_in_the_fourth(line: str) -> None:
        if line.startswith("step 4/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(recipe, broken, report=stop_in_the_fourth)
    assert last_checkpoint(broken).name == "checkpoint-3"
    state = last_checkpoint(broken) / "trainer_state.json"
    state.write_bytes(state.read_bytes()[:40])
    curve = broken / CURVE_FILE
    curve.write_bytes(curve.read_bytes()[:-5])
    assert last_checkpoint(broken).name == "checkpoint-2"
    fine_tune(recipe, broken, resume=True, report=quiet)
    assert all(torch.equal(value, weights(broken)[name]) for name, value in weights(whole).items())
    assert [entry["step"] for entry in StepLog(curve).entries()] == [1, 2, 3, 4]


def test_passes_of_a_step_add_up_to_the_whole_batch(tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"log_every": 1, "answer_weight": 5.0})
    losses = []
    for size in (4, 1):
        fine_tune(recipe.model_copy(update={"micro_batch": size}), tmp_path / str(size), report=quiet)
        entries = StepLog(tmp_path / str(size) / CURVE_FILE).entries()
        losses.append([[entry["loss"], entry["grad_norm"]] for entry in entries])
    assert len(losses[0]) == TINY.steps
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-3, atol=1e-4)


def test_images_are_perturbed_by_question_and_step_in_whatever_order_and_batch(checkpoint: Path) -> None:
    recipe = TINY.model_copy(
        update={
            "architecture": None,
            "base": str(checkpoint),
            "attack": AttackSettings(steps=1, clean_share=0.3),
            "noise": NoiseSettings(sigma=0.1, share=0.5),
        }
    )
    model = AutoModelForImageTextToText.from_pretrained(checkpoint).train()
    perturb = BatchPerturbation(model, AutoProcessor.from_pretrained(checkpoint), recipe)
    questions = phantom_questions("train", per_modality=1, seed=3)
    examples = [
        build_example(question, (Task.DESCRIBE, Task.REASON)[row % 2])
        for row, question in enumerate(questions)
    ]

    def made(examples: list[Example], step: int) -> dict[str, np.ndarray]:
        return {one.question.id: canonical(one.question.image) for one in perturb(examples, step)}

    together, backwards, later = made(examples, 0), made(examples[::-1], 0), made(examples, 1)
    alone = {id: image for example in examples for id, image in made([example], 0).items()}
    for id, image in together.items():
        assert np.array_equal(image, backwards[id])
        # A batch may round otherwise than a single question, which turns the sign of a gradient near zero.
        assert (image == alone[id]).mean() > 0.98
    assert any(not np.array_equal(image, later[id]) for id, image in together.items())
    assert model.training


def test_attacks_are_made_against_the_weights_of_their_step(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = TINY.model_copy(
        update={
            "architecture": None,
            "base": str(checkpoint),
            "attack": AttackSettings(steps=1),
            "micro_batch": 2,
            "stages": (Stage(steps=3, tasks={Task.REASON: 1.0}),),
        }
    )
    seen: list[tuple[int, float, bool]] = []
    perturb = InnerAttack._perturb_batch

    def watched(inner: Any, *arguments: Any) -> Any:
        model = inner._adapter.model
        seen.append((len(seen), sum(w.double().sum().item() for w in model.parameters()), model.training))
        return perturb(inner, *arguments)

    monkeypatch.setattr(InnerAttack, "_perturb_batch", watched)
    monkeypatch.setattr("medrobust_bench.train.sft.validate", lambda *_, **__: {"validation_accuracy": 0.0})
    fine_tune(recipe, tmp_path, report=quiet)
    sums = [total for _, total, _ in seen]
    assert len(sums) == 6  # two passes a step
    assert sums[0] == sums[1] != sums[2] == sums[3] != sums[4] == sums[5]
    assert not any(training for _, _, training in seen)


def test_a_question_that_cannot_be_read_costs_one_question_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = training_questions(TINY.data)
    spoilt = ImageBytes(b"GIF89a and then nothing", name="spoilt.png")
    bad = {train[3].id, validation[2].id}

    def spoil(questions: Sequence[Question]) -> tuple[Question, ...]:
        return tuple(replace(q, image=spoilt) if q.id in bad else q for q in questions)

    monkeypatch.setattr(
        "medrobust_bench.train.sft.training_questions", lambda data, report: (spoil(train), spoil(validation))
    )
    recipe = TINY.model_copy(update={"stages": (Stage(steps=10, tasks={Task.REASON: 1.0}),)})
    said: list[str] = []
    fine_tune(recipe, tmp_path, report=said.append)
    recorded = StepLog(tmp_path / SKIPPED_FILE).entries()
    assert {entry["question"] for entry in recorded} == bad
    assert all(entry["reason"] for entry in recorded)
    assert sum(line.startswith("skipped") for line in said) == 2
    assert StepLog(tmp_path / CURVE_FILE).entries()[-1]["step"] == 10


def test_a_training_whose_questions_mostly_fail_stops(tmp_path: Path) -> None:
    skipped = SkippedQuestions(tmp_path, quiet)
    skipped.add({str(number): "bad" for number in range(10)}, step=1, asked=1000)
    with pytest.raises(InvalidInputError, match=r"of 1,?050 questions|of 1050"):
        skipped.add({str(number): "bad" for number in range(200)}, step=2, asked=50)
    assert len(StepLog(tmp_path / SKIPPED_FILE).entries()) == 200
    skipped.begin(1)
    assert len(StepLog(tmp_path / SKIPPED_FILE).entries()) == 10


def test_adapters_are_trained_resumed_and_merged(checkpoint: Path, tmp_path: Path) -> None:
    recipe = TINY.model_copy(
        update={
            "architecture": None,
            "base": str(checkpoint),
            "lora": LoraSettings(rank=2, target_modules=".*language_model.*q_proj"),
            "evaluate_every": 2,
            "learning_rate": 1e-2,
            "attack": AttackSettings(steps=1),
        }
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fine_tune(recipe, whole, report=quiet)

    def stop_at_the_end(line: str) -> None:
        if line.startswith("step 4/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(recipe, broken, report=stop_at_the_end)
    fine_tune(recipe, broken, resume=True, report=quiet)
    before, after, again = weights(checkpoint), weights(whole), weights(broken)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("q_proj" in name for name in changed)
    assert all(torch.equal(value, again[name]) for name, value in after.items())


def test_validation_on_a_data_set_asks_a_balanced_part(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {
        split: Dataset("somewhere", split, phantom_questions(split, per_modality=6))
        for split in ("train", "validation")
    }
    monkeypatch.setattr("medrobust_bench.data.source.open_data", lambda source, split, images: splits[split])
    rows = [SimpleNamespace(split="validation")]
    monkeypatch.setattr(
        "medrobust_bench.data.source.read_source", lambda *_, **__: SimpleNamespace(questions=rows)
    )
    train, validation = training_questions(TrainingData(source="somewhere", validation_per_modality=2))
    assert train == splits["train"].questions
    assert set(Counter(question.modality for question in validation).values()) == {2}


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"trainer": {"max_steps": 3}}, "max_steps"),
        ({"trainer": {"learning_rat": 3}}, "learning_rat"),
        ({"trainer": {"lr_scheduler_type": "upwards"}}, "trainer"),
        ({"micro_batch": 3}, "no multiple"),
    ],
)
def test_knobs_of_the_trainer_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, fields: dict[str, Any], what: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    content = {**TINY.model_dump(mode="json", exclude_none=True), **fields}
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    refused = CliRunner().invoke(main, ["train", "sft", str(recipe), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 2, refused.output
    assert what in refused.output
    assert not (tmp_path / "out").exists()


def test_schedule_and_floor_can_be_chosen(tmp_path: Path) -> None:
    rates = {}
    for name, update in {
        "cosine": {"final_rate": 0.5},
        "linear": {"trainer": {"lr_scheduler_type": "linear"}},
    }.items():
        arguments = fine_tuning_arguments(TINY.model_copy(update={**update, "warmup_steps": 0}), tmp_path)
        model = torch.nn.Linear(1, 1)
        trainer = Trainer(model, arguments, train_dataset=[0])
        trainer.create_optimizer_and_scheduler(100)
        for _ in range(100):
            trainer.optimizer.step()
            trainer.lr_scheduler.step()
        rates[name] = trainer.lr_scheduler.get_last_lr()[0] / TINY.learning_rate
    assert rates["cosine"] == pytest.approx(0.5, abs=1e-3)
    assert rates["linear"] == 0


def test_the_configuration_is_saved_as_it_was(checkpoint: Path) -> None:
    assert "use_cache" not in json.loads((checkpoint / "config.json").read_text())


def test_the_curve_is_drawn_and_a_folder_without_one_refused(checkpoint: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    drawn = CliRunner().invoke(
        main, ["train", "curve", str(checkpoint), str(checkpoint), "--out", str(picture)]
    )
    assert drawn.exit_code == 0
    with Image.open(picture) as image:
        assert min(image.size) > 300
    refused = CliRunner().invoke(main, ["train", "curve", str(tmp_path), "--out", str(picture)])
    assert refused.exit_code == 2
    assert CURVE_FILE in refused.output


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

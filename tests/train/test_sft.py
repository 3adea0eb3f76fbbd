"""Supervised fine-tuning from recipe to loadable checkpoint."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.cli import main
from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.accuracy import choose
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.examples import NOT_LEARNT
from medrobust_bench.train.questions import checkpoint_path
from medrobust_bench.train.recipe import read_sft_recipe
from medrobust_bench.train.settings import (
    CURVE_FILE,
    RECIPE_FILE,
    NoiseSettings,
    SftSettings,
    Stage,
    Task,
    TrainingData,
)
from medrobust_bench.train.sft import completion_loss, fine_tune
from tests.train.conftest import SMALL

if TYPE_CHECKING:
    from pathlib import Path

TINY = SftSettings(
    architecture=SMALL,
    mode=AnswerMode.REASONING,
    data=TrainingData(per_modality=5, validation_per_modality=1),
    stages=(
        Stage(steps=2, tasks={Task.DESCRIBE: 1.0}),
        Stage(steps=2, tasks={Task.REASON: 0.5, Task.DIRECT: 0.5}),
    ),
    batch_size=4,
    warmup_steps=1,
    evaluate_every=4,
    threads=1,
)


def quiet(line: str) -> None:
    """Swallow progress."""


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
    answers = choose(model, processor, questions, AnswerMode.REASONING, max_new_tokens=4)
    assert len(answers.completions) == len(questions)


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(
    checkpoint: Path, tmp_path: Path
) -> None:
    first = AutoModelForImageTextToText.from_pretrained(checkpoint).state_dict()
    for seed, equal in ((0, True), (1, False)):
        fine_tune(TINY.model_copy(update={"seed": seed}), tmp_path / str(seed), report=quiet)
        again = AutoModelForImageTextToText.from_pretrained(tmp_path / str(seed)).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in first.items()) is equal


@pytest.mark.parametrize("noise", [None, NoiseSettings(sigma=0.1)], ids=["plain", "tampered"])
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
    for direct in (False, True):
        mode = AnswerMode.REASONING if direct else AnswerMode.LETTER
        together = choose(model, processor, questions, mode, direct=direct, batch_size=16)
        alone = choose(model, processor, questions, mode, direct=direct, batch_size=1)
        assert together == alone
        pairs = zip(together.choices, questions, strict=True)
        assert all(choice is not None and choice < len(q.options) for choice, q in pairs)


def test_a_base_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not a checkpoint"):
        checkpoint_path(str(tmp_path))
    assert checkpoint_path("someone/some-model") == "someone/some-model"


def test_the_command_refuses_a_used_folder_and_a_wrong_recipe(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    used = CliRunner().invoke(main, ["train", "sft", "tiny-sft-reasoning", "--out", str(tmp_path)])
    assert used.exit_code == 2
    assert "already holds something" in used.output
    assert (tmp_path / "old").read_text() == "kept"
    wrong = CliRunner().invoke(main, ["train", "sft", "nothing"])
    assert wrong.exit_code == 2
    assert "tiny-sft-reasoning" in wrong.output


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

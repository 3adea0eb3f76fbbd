"""LoRA on the architectures of real models, by both trainers, with the modules that the shipped recipe names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train import at_grpo
from medrobust_bench.train.recipe import read_rl_recipe
from medrobust_bench.train.reinforcement import reinforce
from medrobust_bench.train.rl_settings import RlSettings
from medrobust_bench.train.settings import AttackSettings, SftSettings, Stage, TrainingData
from medrobust_bench.train.sft import fine_tune
from medrobust_bench.train.tasks import Task
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.train.lora import LoraSettings

pytestmark = pytest.mark.slow
SHIPPED = read_rl_recipe("lora-3b-8b").lora
DATA = TrainingData(per_modality=2, validation_per_modality=1)
real = pytest.mark.parametrize("family", ["Qwen2.5-VL", "Gemma 3"])


def quiet(line: str) -> None:
    """Swallow progress."""


@pytest.fixture
def base(family: str, tmp_path: Path) -> Path:
    folder = FAMILIES[family].save(tmp_path / "base")
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    processor.save_pretrained(folder)
    return folder


def adapted(base: Path, out: Path) -> set[str]:
    """Names of the weights that differ; the checkpoint is whole and loads as its base does."""
    before, after = (
        AutoModelForImageTextToText.from_pretrained(folder).state_dict() for folder in (base, out)
    )
    assert before.keys() == after.keys()
    AutoProcessor.from_pretrained(out)
    return {name for name in before if not torch.equal(before[name], after[name])}


def lora(rank: int) -> LoraSettings:
    assert SHIPPED is not None
    return SHIPPED.model_copy(update={"rank": rank, "alpha": 2 * rank})


def right_modules(changed: set[str]) -> bool:
    names = {name.removesuffix(".weight") for name in changed}
    assert isinstance(lora(1).target_modules, str)
    pattern = str(lora(1).target_modules)
    kinds = {name.rpartition(".")[2] for name in names}
    return all(re.fullmatch(pattern, name) for name in names) and len(kinds) == 7


@real
def test_adversarial_fine_tuning(family: str, base: Path, tmp_path: Path) -> None:
    recipe = SftSettings(
        base=str(base),
        mode=AnswerMode.LETTER,
        data=DATA,
        attack=AttackSettings(steps=1),
        lora=lora(2),
        stages=(Stage(steps=2, tasks={Task.LETTER: 1.0}),),
        batch_size=4,
        learning_rate=1e-2,
        warmup_steps=0,
        evaluate_every=2,
        threads=1,
    )
    fine_tune(recipe, tmp_path / "out", report=quiet)
    assert right_modules(adapted(base, tmp_path / "out"))


@real
def test_adversarial_grpo(family: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lengths(*, completions: Any, **columns: Any) -> list[float]:
        return [float(len(turn[0]["content"]) % 3) for turn in completions]

    monkeypatch.setattr(at_grpo, "weighted_rewards", lambda *_: ([lengths, lengths], [1.0, 0.2]))
    recipe = RlSettings(
        base=str(base),
        mode=AnswerMode.LETTER,
        data=DATA,
        attack=AttackSettings(steps=1),
        lora=lora(2),
        steps=2,
        prompts=2,
        group=4,
        micro_batch=4,
        max_new_tokens=3,
        learning_rate=1e-2,
        kl=0.01,
        threads=1,
    )
    reinforce(recipe, tmp_path / "out", report=quiet)
    assert right_modules(adapted(base, tmp_path / "out"))

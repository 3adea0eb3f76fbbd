"""Both training loops leave nothing behind on the CPU: two steps on a pretended device, see `tests.pretended`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from accelerate import Accelerator
from transformers import TrainingArguments

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.architecture import build_processor
from medrobust_bench.train.reinforcement import reinforce
from medrobust_bench.train.rl_settings import RlSettings
from medrobust_bench.train.settings import AttackSettings, SftSettings, Stage, TrainingData
from medrobust_bench.train.sft import fine_tune
from medrobust_bench.train.tasks import Task
from tests.pretended import DEVICE, pretended_device
from tests.train.conftest import SMALL, attentive_model

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.slow

DATA = TrainingData(per_modality=2, validation_per_modality=1)
STEPS = 2


@pytest.fixture
def base(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    attentive_model(tokenizer).save_pretrained(tmp_path / "base")
    build_processor(SMALL, tokenizer).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Has trainers use the device; where the weights were when one had ended is appended."""
    places: list[torch.device] = []

    def saved(trainer: Any, *_: Any) -> None:
        places.extend({weight.device for weight in trainer.model.parameters()})

    for module in ("sft", "reinforcement"):
        monkeypatch.setattr(f"medrobust_bench.train.{module}.save_trained", saved)
    monkeypatch.setattr(TrainingArguments, "device", property(lambda self: self._setup_devices and DEVICE))
    monkeypatch.setattr(Accelerator, "device", property(lambda _: DEVICE))
    return places


def test_fine_tuning_on_attacked_images(base: str, tmp_path: Path, placed: list[torch.device]) -> None:
    recipe = SftSettings(
        base=base,
        mode=AnswerMode.LETTER,
        data=DATA,
        attack=AttackSettings(steps=1),
        stages=(Stage(steps=STEPS, tasks={Task.LETTER: 1.0}),),
        batch_size=2,
        warmup_steps=0,
        evaluate_every=STEPS,
        save_every=100,
        threads=1,
        trainer={"save_strategy": "no"},
    )
    said: list[str] = []
    with pretended_device():
        fine_tune(recipe, tmp_path / "out", report=said.append)
    assert placed == [DEVICE]
    assert any(line.startswith(f"step {STEPS}") for line in said), said


def test_adversarial_grpo(base: str, tmp_path: Path, placed: list[torch.device]) -> None:
    recipe = RlSettings(
        base=base,
        mode=AnswerMode.LETTER,
        data=DATA,
        attack=AttackSettings(steps=1),
        steps=STEPS,
        prompts=2,
        group=2,
        max_new_tokens=3,
        kl=0.01,
        validate_every=STEPS,
        threads=1,
        trl={"save_strategy": "no", "disable_tqdm": True},
    )
    said: list[str] = []
    with pretended_device():
        reinforce(recipe, tmp_path / "out", report=said.append)
    assert placed == [DEVICE]
    assert any(line.startswith(f"step {STEPS}") for line in said), said

"""Recipes of adversarial and reinforcement training: what they mean, and how wrong ones are refused early."""

from __future__ import annotations

import importlib.metadata
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medrobust_bench.attacks.budget import LinfBudget
from medrobust_bench.cli import main
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.grpo_arguments import check_groups, grpo_arguments, require_trl
from medrobust_bench.train.recipe import read_rl_recipe, shipped
from medrobust_bench.train.rl_settings import RlSettings
from medrobust_bench.train.settings import AttackSettings, SftSettings

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL: dict[str, Any] = {"base": "somewhere", "steps": 3, "prompts": 2, "group": 4}
SUPERVISED: dict[str, Any] = {"mode": "letter", "stages": [{"steps": 1, "tasks": {"letter": 1.0}}]}


def test_shipped_recipes_are_valid() -> None:
    assert {"safemed-r1-tiny", "safemed-r1-tiny-instruct", "lora-3b-8b"} <= set(shipped("rl"))
    for name in shipped("rl"):
        assert read_rl_recipe(name).attack is not None


def test_shipped_launch_configurations_are_accelerates() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    assert {"ddp", "zero2", "zero3", "fsdp2"} == set(shipped("accelerate"))
    for path in shipped("accelerate").values():
        assert load_config_from_file(str(path)).num_processes == 8


@given(st.integers(1, 50), st.integers(0, 100))
def test_eps_rises_to_its_full_size_and_stays(warmup: int, step: int) -> None:
    spec = AttackSettings(eps=Fraction(8, 255), warmup_steps=warmup).at(step)
    assert spec is not None
    assert spec.eps == min(Fraction(8, 255), Fraction(8, 255) * (step + 1) / warmup)
    assert spec.step_size == Fraction(5, 2) * spec.eps / spec.steps


@given(
    warmup=st.integers(1, 300),
    step=st.integers(0, 600),
    start=st.integers(0, 8),
)
def test_eps_rises_from_where_it_starts_and_never_falls(warmup: int, step: int, start: int) -> None:
    settings = AttackSettings(eps=Fraction(8, 255), start_eps=Fraction(start, 255), warmup_steps=warmup)
    now, later = settings.at(step), settings.at(step + 1)
    assert now is not None
    assert later is not None
    assert Fraction(start, 255) < now.eps <= later.eps or now.eps == later.eps == Fraction(8, 255)
    assert (now.eps == Fraction(8, 255)) == (step + 1 >= warmup or start == 8)
    assert now.step_size / now.eps == later.step_size / later.eps


def test_images_are_attacked_from_the_first_step_on_where_eps_starts_at_one_level() -> None:
    slow = AttackSettings(eps=Fraction(4, 255), warmup_steps=100)
    at_once = AttackSettings(eps=Fraction(4, 255), start_eps=Fraction(1, 255), warmup_steps=100)
    specs = [settings.at(step) for settings in (slow, at_once) for step in (0, 99)]
    assert [None if spec is None else LinfBudget(spec.eps).levels for spec in specs] == [0, 4, 1, 4]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"eps": "4/255", "start_eps": "5/255", "warmup_steps": 9}, "between 0 and eps"),
        ({"eps": "4/255", "start_eps": "1/255"}, "needs warmup_steps"),
    ],
)
def test_an_eps_that_cannot_rise_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        AttackSettings.model_validate(fields)


def test_no_warm_up_is_full_size_at_once_and_no_eps_no_attack() -> None:
    spec = AttackSettings(steps=4, step_size=Fraction(1, 255)).at(0)
    assert spec is not None
    assert (spec.eps, spec.step_size) == (Fraction(8, 255), Fraction(1, 255))
    assert AttackSettings(eps=0).at(0) is None


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"atack": {}}, "atack"),
        ({"mode": "option-text"}, "generates nothing"),
        ({"micro_batch": 3}, "does not divide"),
        ({"group": 1}, "group"),
        ({"mode": "letter", "rewards": {"consistency": 1}}, "no rationale"),
        ({"rewards": {"agreement": 1}}, "needs an attack"),
        ({"trl": {"beta": 0.1}}, "trl may not hold beta"),
        ({"attack": {"eps": "-1/255"}}, "negative"),
        ({"attack": {"norm": "linf", "eps": 8}}, "8/255"),
        ({"attack": {"clean_share": 1.5}}, "clean_share"),
        ({"noise": {"sigma": 0}}, "sigma"),
        ({"exchange": 1.5}, "exchange"),
        ({"augmentation": {"crop": 0}}, "crop"),
        ({"rewards": {"dependance": 1}}, "dependance"),
        ({"rewards": {"correctness": 0, "strict_format": 0}}, "nothing is rewarded"),
        ({"attack": {"eps": 0, "mixture": {"patch": "1/20"}}}, "needs eps above 0"),
        ({"exchange": True}, "exchange"),
        ({"oversample": True}, "oversample"),
        ({"lora": {"target_modules": ""}}, "must name modules"),
        ({"lora": {"target_modules": "("}}, "no regular expression"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        RlSettings.model_validate({**MINIMAL, **wrong})


def test_adversarial_fine_tuning_refuses_tasks_that_show_no_image() -> None:
    stages = [{"steps": 1, "tasks": {"describe": 1.0, "read": 1.0}}]
    with pytest.raises(ValidationError, match="not read"):
        SftSettings.model_validate({"base": "x", "mode": "reasoning", "attack": {}, "stages": stages})


def test_every_wrong_setting_and_where_it_stands_is_reported(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"base": "x", "steps": 0, "attack": {"epsilon": 1}}), encoding="utf-8")
    with pytest.raises(InvalidInputError) as caught:
        read_rl_recipe(str(recipe))
    said = str(caught.value)
    assert "steps" in said
    assert "attack.epsilon" in said


def test_plain_grpo_is_the_recipe_without_attack_and_noise() -> None:
    recipe = RlSettings.model_validate(
        {**MINIMAL, "attack": {}, "noise": {"sigma": 0.25}, "rewards": {"agreement": 0.5}}
    )
    plain = recipe.without_attack()
    assert plain.attack is plain.noise is None
    assert RlSettings.model_validate(plain.model_dump()) == plain
    assert plain.steps == recipe.steps


def test_arguments_that_trl_does_not_have_are_refused(tmp_path: Path) -> None:
    settings = RlSettings.model_validate({**MINIMAL, "trl": {"epsilonn": 1, "top_p": 0.9}})
    with pytest.raises(InvalidInputError, match="epsilonn"):
        grpo_arguments(settings, tmp_path)


def test_groups_stay_whole_and_checkpoints_fall_between_generation_batches(tmp_path: Path) -> None:
    settings = RlSettings.model_validate({**MINIMAL, "micro_batch": 2})
    arguments = grpo_arguments(settings, tmp_path)
    assert arguments.per_device_train_batch_size * arguments.steps_per_generation == 8
    check_groups(arguments)
    arguments.steps_per_generation = 3  # 6 rollouts per process, groups of 4
    arguments.save_steps = 1
    with pytest.raises(InvalidInputError) as caught:
        check_groups(arguments)
    assert len(caught.value.problems) == 2
    assert "split between processes" in str(caught.value)


def test_another_trl_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_trl()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.15.0")
    with pytest.raises(InvalidInputError, match=r"pip install .trl>=1\.16,<2"):
        require_trl()


def test_commands_refuse_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForImageTextToText

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", never)
    recipe = tmp_path / "recipe.yaml"

    def outcome(command: str, *more: str, **fields: object) -> tuple[int, str]:
        required = {"base": "x"} if "stages" in fields else MINIMAL
        recipe.write_text(yaml.safe_dump({**required, **fields}), encoding="utf-8")
        out = ["--out", str(tmp_path / "out")]
        result = CliRunner().invoke(main, ["train", command, str(recipe), *out, *more])
        return result.exit_code, result.output

    for command, more, fields, what in [
        ("at-grpo", [], {}, "has no attack"),
        ("grpo", [], {}, "not a checkpoint"),
        ("at-grpo", ["--resume"], {"attack": {}, "base": "a/b"}, "no unfinished training to resume"),
        ("at-grpo", [], {"attack": {}, "base": "a/b", "data": {"source": str(tmp_path / "none")}}, "none"),
        ("at-grpo", [], {"attack": {}, "base": "a/b", "prompts": 50, "data": {"per_modality": 1}}, "fill"),
        ("at-sft", ["--resume"], {**SUPERVISED, "attack": {}}, "no unfinished training to resume"),
        ("at-sft", [], {}, "stages"),
        ("at-sft", [], {**SUPERVISED}, "has no attack"),
        ("sft", [], {**SUPERVISED, "attack": {}}, "has an attack"),
    ]:
        code, output = outcome(command, *more, **fields)
        assert code == 2, output
        assert what in output

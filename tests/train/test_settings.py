"""Recipes: what they may say and how wrong ones are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.train.recipe import read_sft_recipe, shipped
from medrobust_bench.train.tasks import Task

if TYPE_CHECKING:
    from pathlib import Path


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_shipped_recipes_are_valid_and_ask_as_they_teach() -> None:
    assert set(shipped("sft")) >= {"tiny-sft-start", "tiny-sft-reasoning", "tiny-at-sft"}
    for name in shipped("sft"):
        recipe = read_sft_recipe(name)
        tasks = {task for stage in recipe.stages for task in stage.tasks}
        assert (recipe.mode is AnswerMode.LETTER) == bool(tasks & {Task.LETTER, Task.TICK})
        assert (recipe.attack is not None) == ("-at-" in name)


def test_a_recipe_is_run_on_other_data(tmp_path: Path) -> None:
    shipped_one = read_sft_recipe("tiny-at-sft")
    elsewhere = read_sft_recipe("tiny-at-sft", data="OmniMedVQA")
    assert elsewhere.data == shipped_one.data.model_copy(update={"source": "OmniMedVQA"})
    table = read_sft_recipe("tiny-at-sft", data="table.csv", images=tmp_path)
    assert table.data.images == str(tmp_path)
    own = written(
        tmp_path,
        "{base: x, mode: letter, data: {source: a, images: b}, stages: [{steps: 1, tasks: {letter: 1}}]}",
    )
    assert (read_sft_recipe(own).data.images, read_sft_recipe(own, data="c").data.images) == ("b", None)
    with pytest.raises(InvalidInputError, match="data"):
        read_sft_recipe(
            written(tmp_path, "{base: x, mode: letter, data: [1], stages: [{steps: 1, tasks: {letter: 1}}]}"),
            data="OmniMedVQA",
        )


def test_every_wrong_setting_is_reported_at_once(tmp_path: Path) -> None:
    recipe = written(
        tmp_path,
        "{base: tiny, mode: reasoning, stages: [{steps: 0, tasks: {letter: 1}}], batch_sise: 4, data: {split: test}}",
    )
    with pytest.raises(InvalidInputError) as caught:
        read_sft_recipe(recipe)
    said = str(caught.value)
    assert len(caught.value.problems) == 3
    assert all(
        name in said for name in ("steps", "batch_sise is unknown → did you mean batch_size?", "data.split")
    )
    assert "row 1" in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{mode: letter, stages: [{steps: 1, tasks: {letter: 1}}]}", "either base"),
        (
            "{mode: letter, base: x, architecture: {}, stages: [{steps: 1, tasks: {letter: 1}}]}",
            "either base",
        ),
        ("{mode: option-text, base: x, stages: [{steps: 1, tasks: {letter: 1}}]}", "reasoning or letter"),
        ("{mode: letter, base: x, stages: [{steps: 1, tasks: {guess: 1}}]}", "describe"),
        ("{mode: [", "not valid YAML"),
        ("{base: a, base: b, mode: letter, stages: [{steps: 1, tasks: {letter: 1}}]}", "given twice"),
        ("{base: &a x, mode: *a, stages: [{steps: 1, tasks: {letter: 1}}]}", "anchors"),
        ("- 1", "not a list of `key: value`"),
    ],
)
def test_impossible_recipes_are_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        read_sft_recipe(written(tmp_path, text))


def test_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(InvalidInputError, match="tiny-sft-reasoning"):
        read_sft_recipe("no-such-recipe")

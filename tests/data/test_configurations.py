"""A configuration of a data set on the hub is read as its publisher lists it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError

from .published import (
    encoded,
    png,
    vqa_rad,
    write_parquet,
)

if TYPE_CHECKING:
    from pathlib import Path


README = """---
configs:
- config_name: easy
  data_files:
  - {split: train, path: easy/train-*.parquet}
  - {split: test, path: easy/test-*.parquet}
- config_name: hard
  data_files: [{split: held_out, path: hard/*.parquet}]
---
# Two configurations
"""


def two_configurations(folder: Path, /, **source: Any) -> Path:
    """A data set in the hub's layout, and a card for it."""
    for split in ("train", "test"):
        rows = [{"image": encoded(10), "question": f"is this {split}?", "answer": "Yes"}]
        write_parquet(folder / f"easy/{split}-00000-of-00001.parquet", rows, ["image"])
    rows = [{"image": encoded(shade), "question": f"is it {shade}?", "answer": "no"} for shade in (7, 8)]
    write_parquet(folder / "hard/part.parquet", rows, ["image"])
    (folder / "README.md").write_text(README)
    fields = {
        "id": "levels",
        "title": "Levels",
        "source": {"folder": ".", "config": "easy"} | source,
        "image": {"columns": ["image"]},
        "question": {"column": "question"},
        "options": {"constant": ["Yes", "No"]},
        "answer": {"column": "answer", "written": "text"},
        "modality": {"constant": "CT"},
        "question_type": {"constant": "anatomy"},
        "licence": "none",
        "citation": "none",
        "downloaded": True,
    }
    path = folder / "levels.md"
    path.write_text(f"---\n{yaml.safe_dump(fields)}---\n# Levels\n")
    return path


def test_a_configuration_is_read_as_its_publisher_lists_it(tmp_path: Path) -> None:
    dataset = open_data(two_configurations(tmp_path))
    assert [question.text for question in dataset.questions] == ["is this test?"]
    assert dataset.questions[0].image.open().size == (40, 32)
    hard = open_data(two_configurations(tmp_path, config="hard", splits={"test": ["held_out"]}))
    assert [question.text for question in hard.questions] == ["is it 7?", "is it 8?"]
    whole = open_data(two_configurations(tmp_path, config="hard", splits={"all": ["held_out"]}), split="all")
    assert whole.digest() != hard.digest()


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ({"config": "middling"}, "has no configuration 'middling' → choose one of: 'easy', 'hard'"),
        (
            {"config": "hard"},
            "configuration hard has no split of a usual name → say in `source.splits` which of",
        ),
        ({"splits": {"test": ["last"]}}, "configuration easy has no split last"),
        ({"files": {"test": ["*.csv"]}}, "give either files or config"),
        (
            {"config": None, "files": {"test": ["*"]}, "splits": {"test": ["a"]}},
            "splits are those of a config",
        ),
        ({"archive": "a.zip"}, "a configuration is in no archive"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_told(
    source: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_data(two_configurations(tmp_path, **source))
    assert what in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_configuration_of_image_files_is_read_and_leads_nowhere_else(tmp_path: Path) -> None:
    """`datasets` calls a folder of pictures with `metadata.csv` a data set, and gives the pictures' paths."""
    (tmp_path / "pictures/test").mkdir(parents=True)
    (tmp_path / "pictures/test/1.png").write_bytes(png(3))
    (tmp_path / "pictures/test/metadata.csv").write_text("file_name,question,answer\n1.png,Is it?,yes\n")
    (tmp_path / "card").mkdir()
    (question,) = open_data(
        two_configurations(tmp_path / "card", folder="../pictures", config="default")
    ).questions
    assert question.image.digest() == hashlib.sha256(png(3)).hexdigest()
    (tmp_path / "secret.png").write_bytes(png(4))
    rows = [{"image": {"bytes": None, "path": str(tmp_path / "secret.png")}, "question": "?", "answer": "no"}]
    write_parquet(tmp_path / "hostile/test.parquet", rows, [])
    with pytest.raises(InvalidInputError, match="a path that leads out of the data set"):
        open_data(two_configurations(tmp_path / "card", folder="../hostile", config="default"))


def test_without_a_list_there_is_one_configuration(tmp_path: Path) -> None:
    vqa_rad(tmp_path)
    card = two_configurations(tmp_path / "card", folder="..")
    with pytest.raises(InvalidInputError, match="has no configuration 'easy' → choose one of: 'default'"):
        open_data(card)


def test_a_configuration_is_read_from_the_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache as `datasets` lays it out for the hub: what a local copy gives, under the owner's name."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "levels").mkdir()
    local = open_data(two_configurations(tmp_path / "levels"))
    (tmp_path / "cache/levels").rename(tmp_path / "cache/owner___levels")
    (tmp_path / "card").mkdir()
    card = two_configurations(tmp_path / "card", folder=None, hub="owner/levels")
    dataset = open_data(card)
    assert dataset.digest() == local.digest()
    assert any("owner/levels, configuration easy" in note for note in dataset.notes)
    with pytest.raises(
        InvalidInputError, match="owner/levels@main: has no configuration 'hard' in the cache"
    ):
        open_data(two_configurations(tmp_path / "card", folder=None, hub="owner/levels", config="hard"))

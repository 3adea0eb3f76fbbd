"""What is no checkpoint, or a broken one, is one clear problem: nothing is looked up in vain, no traceback is shown."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from medrobust_bench.cli import main
from tests.models.edited import SHIPPED, copied, with_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def told(model: Path, mode: str = "letter") -> str:
    """What `models check` says of something that is refused."""
    done = CliRunner().invoke(main, ["models", "check", str(model), "--answer-mode", mode])
    assert done.exit_code == 2, done.output
    assert "1 problem with the input" in done.output
    assert "\N{REPLACEMENT CHARACTER}" not in done.output, "line breaks of a library's message"
    assert len(done.output) < 800, "a list of every class that there is"
    return " ".join(done.output.split())


@pytest.mark.parametrize("name", ["model.gguf", "adapter_model.safetensors", "a/b/c.bin", "config.json"])
def test_a_file_is_not_looked_up_on_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert "is a file, not a checkpoint" in told(name)  # type: ignore[arg-type]


def text_only(folder: Path) -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def tower_only(folder: Path) -> None:
    config = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    SiglipVisionModel(config).save_pretrained(folder)


def bert(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")


@pytest.mark.parametrize(
    ("save", "name"), [(text_only, "LlamaConfig"), (tower_only, "SiglipVisionConfig"), (bert, "BertConfig")]
)
def test_a_checkpoint_of_another_kind_is_named(
    tmp_path: Path, save: Callable[[Path], None], name: str
) -> None:
    save(tmp_path / "other")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / file, tmp_path / "other")
    assert f"{name} is no image-text-to-text model" in told(tmp_path / "other")


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8") and None


def change(name: str, edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda folder: with_json(folder, name, edit) and None


@pytest.mark.parametrize(
    "damage",
    [
        remove("tokenizer.json"),
        remove("tokenizer.json", "tokenizer_config.json"),
        remove("processor_config.json"),
        remove("model.safetensors"),
        write("config.json", "{"),
        write("config.json", "[]"),
        write("config.json", '{"model_type": "nonsense"}'),
        write("tokenizer.json", "{}"),
        write("tokenizer.json", ""),
        write("processor_config.json", "null"),
        write("generation_config.json", "{"),
        change("config.json", lambda c: c["text_config"].update(num_attention_heads=0)),
        change("config.json", lambda c: c["text_config"].update(hidden_size="large")),
        change("config.json", lambda c: c["vision_config"].update(patch_size=-1)),
        change("tokenizer.json", lambda c: c["model"].update(type="Unheard")),
        change("processor_config.json", lambda c: c["image_processor"].update(size="x")),
    ],
)
def test_broken_files_are_a_problem_and_not_a_traceback(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied(tmp_path / "broken"))
    told(tmp_path / "broken")


def test_a_name_that_is_no_utf_8_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "r"
    words = ["run", "--model", "tiny-sft-letter", "--threat", "noise:draws=1", "--out", str(out)]
    for more in (
        ["--data", "d\udcff"],
        ["--images", "d\udcff"],
        ["--model", "./m\udcff"],
        ["--threat", "t\udcff.yaml"],
    ):
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 2, done.output
        assert "is no valid UTF-8" in done.output
        assert not out.exists()

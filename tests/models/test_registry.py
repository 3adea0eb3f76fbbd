from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from medrobust_bench import extensions
from medrobust_bench.models import registry
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import checkpoint, load_model, resolve
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import ModelRecord

from .test_cards import CARD

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.cards import Card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a checkpoint."""
    folder = tmp_path / "my-checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def write_card(folder: Path, *lines: str, source: str = "owner/name") -> Path:
    path = folder / "card.md"
    more = "".join(f"{line}\n" for line in lines)
    path.write_text(CARD.replace("source: owner/name\n", f"source: {source}\n{more}"))
    return path


def problem_of(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        call(*args, **options)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_card_id() -> None:
    card = resolve("qwen2.5-vl-7b")
    assert (card.source, card.answer_mode) == ("Qwen/Qwen2.5-VL-7B-Instruct", AnswerMode.LETTER)
    assert checkpoint(card) == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_a_card_file(tmp_path: Path) -> None:
    assert resolve(str(write_card(tmp_path))).id == "my-model"


def test_a_folder(folder: Path) -> None:
    card = resolve(str(folder))
    assert (card.id, card.answer_mode, card.evaluated) == ("my-checkpoint", AnswerMode.LETTER, False)
    assert checkpoint(card) == folder


def test_a_folder_relative_to_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert checkpoint(resolve("../my-checkpoint")) == folder
    assert resolve(".").id == "my-checkpoint"


def test_a_hub_id() -> None:
    card = resolve("owner/some-model", revision="v1")
    assert (card.id, card.source, card.revision) == ("owner/some-model", "owner/some-model", "v1")
    assert checkpoint(card) == "owner/some-model"


def test_a_folder_wins_over_a_hub_id_and_a_card_over_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("owner/name", "qwen2-vl-2b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    assert checkpoint(resolve("owner/name")) == tmp_path / "owner/name"
    assert checkpoint(resolve("qwen2-vl-2b")) == "Qwen/Qwen2-VL-2B-Instruct"
    assert checkpoint(resolve("./qwen2-vl-2b")) == tmp_path / "qwen2-vl-2b"


def test_the_answer_mode_given_replaces_the_cards() -> None:
    assert resolve("qwen2-vl-2b", answer_mode=AnswerMode.REASONING).answer_mode is AnswerMode.REASONING
    assert resolve("med-r1").answer_mode is AnswerMode.REASONING
    # The instruction belongs to the mode; all else to the model.
    asked = resolve("medvlm-r1", answer_mode=AnswerMode.LETTER)
    assert (asked.instruction, asked.stop) == (None, resolve("medvlm-r1").stop)
    assert resolve("medvlm-r1", answer_mode=AnswerMode.REASONING).instruction is not None


def test_the_length_limit_given_replaces_the_cards() -> None:
    assert resolve("medvlm-r1", max_new_tokens=9).max_new_tokens == 9
    assert resolve("medvlm-r1").max_new_tokens == 1024


def test_a_revision_is_for_the_hub(folder: Path) -> None:
    assert resolve("qwen2-vl-2b", revision="v1").revision == "v1"
    assert "has no revision 'v1'" in problem_of(resolve, str(folder), revision="v1")
    assert "has no revision" in problem_of(resolve, "safemed-r1-tiny", revision="v1")


def test_a_source_beside_the_card(folder: Path) -> None:
    card = resolve(str(write_card(folder.parent, source="./my-checkpoint")))
    assert checkpoint(card) == folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qwen25-vl-7b", "did you mean qwen2.5-vl-7b"),
        ("./nowhere", "is no folder"),
        ("nowhere.md", "cannot be read"),
        ("no such name", "there is no model 'no such name'"),
    ],
)
def test_names_that_mean_nothing(name: str, said: str) -> None:
    assert said in problem_of(resolve, name)


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    assert "holds no config.json" in problem_of(resolve, str(tmp_path))


def test_a_card_whose_folder_is_missing(tmp_path: Path) -> None:
    problem = problem_of(resolve, str(write_card(tmp_path, source="./nowhere")))
    assert str(tmp_path / "card.md") in problem
    assert "there is no folder" in problem


@dataclass
class Plugin:
    """An adapter of somebody else's package: notes how it was loaded."""

    record: ModelRecord
    loaded: tuple[str, str, str, bool]


def plug(card: Card, *, device: str, dtype: str, trust_remote_code: bool) -> Plugin:
    if card.source == "owner/unreachable":
        raise OSError("no network\nmore lines")
    record = ModelRecord(
        id=card.id,
        weights_sha256="b" * 64,
        dtype="float32" if dtype == "auto" else dtype,
        answer_mode=card.answer_mode.value,
        parameters=1,
    )
    return Plugin(record, (card.id, device, dtype, trust_remote_code))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", f"{__name__}:plug", registry.ADAPTER_GROUP)
    monkeypatch.setattr(extensions, "entry_points", EntryPoints([point]).select)


@pytest.mark.usefixtures("plugin")
def test_an_entry_point_loads_its_own_cards(tmp_path: Path) -> None:
    card = resolve(str(write_card(tmp_path, "adapter: mine", "dtype: bfloat16")))
    adapter: Any = load_model(card, device="cpu", trust_remote_code=True)
    assert adapter.loaded == ("my-model", "cpu", "bfloat16", True)
    adapter = load_model(card, dtype="float16")
    assert adapter.loaded == ("my-model", "auto", "float16", False)


@pytest.mark.usefixtures("plugin")
def test_an_adapter_that_is_not_installed(tmp_path: Path) -> None:
    problem = problem_of(resolve, str(write_card(tmp_path, "adapter: theirs")))
    assert "there is no adapter 'theirs'" in problem
    assert "known here: huggingface, endpoint, mine" in problem


@pytest.mark.usefixtures("plugin")
def test_a_checkpoint_that_cannot_be_had(tmp_path: Path) -> None:
    card = resolve(str(write_card(tmp_path, "adapter: mine", source="owner/unreachable")))
    problem = problem_of(load_model, card)
    assert "owner/unreachable cannot be loaded: no network →" in problem


@pytest.mark.usefixtures("plugin")
def test_weights_are_compared_with_the_card(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def card(digest: str) -> Card:
        return resolve(
            str(write_card(tmp_path, "adapter: mine", "dtype: float32", f"weights_sha256: {digest * 64}"))
        )

    load_model(card("b"))
    problem = problem_of(load_model, card("c"))
    assert "b" * 64 in problem
    assert "c" * 64 in problem
    assert "weights_sha256" in problem
    # In another dtype the digest says nothing: loaded, and said so.
    with caplog.at_level(logging.WARNING):
        load_model(card("c"), dtype="bfloat16")
    assert "not compared" in caplog.text


def test_one_checkpoint_of_a_hub_repository_with_several(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def snapshot_download(repository: str, **options: Any) -> str:
        asked[repository] = options
        return str(folder.parent)

    seen = {}

    def fake_vlm(source: Path, **options: Any) -> Any:
        seen.update(options, source=source)
        return SimpleNamespace()

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("medrobust_bench.models.huggingface.HuggingFaceVLM.from_pretrained", fake_vlm)
    load_model(resolve("owner/name/my-checkpoint", answer_mode=AnswerMode.REASONING, revision="v1"))
    assert asked == {"owner/name": {"revision": "v1", "allow_patterns": "my-checkpoint/*"}}
    assert seen["source"] == folder
    assert (seen["id"], seen["mode"]) == ("owner/name/my-checkpoint", AnswerMode.REASONING)


def test_a_real_checkpoint_loads_under_its_cards_name(tmp_path: Path) -> None:
    from .families import Family, qwen2_vl

    Family(qwen2_vl, native=None).save(tmp_path / "tiny")
    card = resolve(str(write_card(tmp_path, "dtype: float32", "max_new_tokens: 5", source="./tiny")))
    adapter: Any = load_model(card, device="cpu")
    assert (adapter.record.id, adapter.record.dtype) == ("my-model", "float32")
    assert adapter.max_new_tokens == 5
    same = write_card(
        tmp_path, "dtype: float32", f"weights_sha256: {adapter.record.weights_sha256}", source="./tiny"
    )
    load_model(resolve(str(same)), device="cpu")

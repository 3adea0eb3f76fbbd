"""Checkpoints as people have them: adapters, quantised ones, repositories of the hub, several devices."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

import medrobust_bench
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.models.weights_digest import weights_sha256
from medrobust_bench.models.whole_checkpoint import load_whole
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import ModelRecord
from medrobust_bench.testing import check_adapter
from tests.models.hub import COMMIT, Hub, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

peft = pytest.importorskip("peft")

SHIPPED = Path(medrobust_bench.__file__).parent / "checkpoints" / "tiny-sft-letter"
PROCESSOR = ("*.json", "*.jinja")


def opened(name: str | Path, **settings: Any) -> HuggingFaceVLM:
    revision = settings.pop("revision", None)
    model = load_model(resolve(str(name), revision=revision), **{"device": "cpu", **settings})
    assert isinstance(model, HuggingFaceVLM)
    return model


def problem_of(name: str | Path, **settings: Any) -> str:
    with pytest.raises(InvalidInputError) as raised:
        opened(name, **settings)
    (problem,) = raised.value.problems
    return str(problem)


def make_adapter(folder: Path, base: str | Path = SHIPPED) -> Path:
    """A LoRA whose tensors are all other than zero, saved as `peft` saves it."""
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_pretrained(SHIPPED)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    tuned.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("lora") / "adapter")


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    """One that may be spoilt."""
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


def scores(model: HuggingFaceVLM) -> torch.Tensor:
    bound = model.bind(synthetic_questions())
    return bound.scores(bound.batch.pixels())


def test_an_adapter_is_merged_into_its_base_and_both_are_recorded(adapter: Path) -> None:
    model = opened(adapter)
    plain = AutoModelForImageTextToText.from_pretrained(SHIPPED)
    base = weights_sha256(plain.state_dict())
    merged = peft.PeftModel.from_pretrained(plain, adapter).merge_and_unload()
    expected = HuggingFaceVLM(merged.eval(), model.processor, mode=AnswerMode.LETTER)
    torch.testing.assert_close(scores(model), scores(expected), rtol=0, atol=1e-4)
    assert not torch.allclose(scores(model), scores(opened(SHIPPED)), atol=1e-2)
    record = model.record
    assert record.base is not None
    assert (record.base.source, record.base.revision, record.base.weights_sha256) == (
        SHIPPED.name,
        None,
        base,
    )
    assert record.base.adapter_sha256 == weights_sha256(load_file(adapter / "adapter_model.safetensors"))
    assert len({record.weights_sha256, record.base.weights_sha256, record.base.adapter_sha256}) == 3
    assert ModelRecord.model_validate_json(record.model_dump_json()) == record
    assert "base" not in opened(SHIPPED).record.model_dump(mode="json")


def test_a_processor_beside_the_adapter_is_its_own(copied: Path) -> None:
    for pattern in PROCESSOR:
        for file in SHIPPED.glob(pattern):
            if file.name not in ("config.json", "generation_config.json"):
                shutil.copy(file, copied)
    marked = "{{- '<|im_start|>user\\nOWN ' -}}"
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text().replace("{%", marked + "{%", 1))
    assert "OWN" in opened(copied).render(synthetic_questions()[0])


def _without_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _with_a_stranger(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.extra.lora_A.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_a_tensor, "1 tensors are missing, and would be random"),
        (_with_a_stranger, "1 tensors have no place in the base"),
        (_pickled, "is an adapter without adapter_model.safetensors"),
        (
            _configured(base_model_name_or_path="/home/somebody/base"),
            "/home/somebody/base is not on this machine",
        ),
        (_configured(base_model_name_or_path=None), "names no base model"),
        (_configured(r=3), "does not fit its base"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "cannot be read"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_whole_is_one_problem(
    copied: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(copied)
    assert said in problem_of(copied)


def test_a_base_beside_the_adapter_is_found_from_anywhere(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "base")
    _configured(base_model_name_or_path="../base")(copied)
    monkeypatch.chdir("/")
    assert opened(copied).record.base is not None


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, adapter: Path) -> Iterator[Hub]:
    """One for all tests: huggingface_hub remembers the address that it was first told."""
    root = tmp_path_factory.mktemp("hub")
    repositories = root / "repositories"
    shutil.copytree(SHIPPED, repositories / "lab" / "whole")
    shutil.copytree(SHIPPED, repositories / "lab" / "several" / "ct")
    shutil.copytree(SHIPPED, repositories / "lab" / "closed")
    shutil.copytree(adapter, repositories / "lab" / "lora")
    _configured(base_model_name_or_path="lab/whole", revision="v1")(repositories / "lab" / "lora")
    hub = Hub(repositories, frozenset({"lab/closed"}))
    with pytest.MonkeyPatch.context() as monkeypatch, serving(hub, root / "cache", monkeypatch):
        yield hub


def test_a_repository_at_a_revision(hub: Hub) -> None:
    record = opened("lab/whole", revision="v1").record
    assert (record.id, record.revision) == ("lab/whole", "v1")
    assert record.weights_sha256 == opened(SHIPPED).record.weights_sha256
    assert any("/resolve/v1/" in path for path in hub.asked)
    assert opened("lab/whole", revision=COMMIT).record.revision == COMMIT


def test_a_folder_inside_a_repository(hub: Hub) -> None:
    record = opened("lab/several/ct").record
    assert record.weights_sha256 == opened(SHIPPED).record.weights_sha256


def test_an_adapter_on_the_hub_finds_its_base_there(hub: Hub, adapter: Path) -> None:
    model = opened("lab/lora")
    torch.testing.assert_close(scores(model), scores(opened(adapter)), rtol=0, atol=0)
    assert model.record.base is not None
    assert (model.record.base.source, model.record.base.revision) == ("lab/whole", "v1")


@pytest.mark.parametrize(
    ("name", "revision", "what", "remedy"),
    [
        (
            "lab/closed",
            None,
            "is a gated repository",
            "accept its licence at https://huggingface.co/lab/closed",
        ),
        ("lab/closed", None, "has not been let in", "hf auth login"),
        ("lab/nowhere", None, "is no repository on the hub, or a private one", "check the name"),
        ("lab/whole", "v9", "has no such revision", "lab/whole/commits"),
    ],
)
def test_what_the_hub_refuses_is_one_problem_with_what_to_do(
    hub: Hub, name: str, revision: str | None, what: str, remedy: str
) -> None:
    said = problem_of(name, revision=revision)
    assert what in said
    assert remedy in said


def test_a_hub_that_must_not_be_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    opened("lab/whole")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    opened("lab/whole")  # from the cache
    assert "the hub cannot be reached or must not be asked" in problem_of("lab/never-seen")


@pytest.mark.parametrize(
    ("method", "package"), [("bitsandbytes", "bitsandbytes"), ("gptq", "gptqmodel"), ("awq", "gptqmodel")]
)
def test_a_quantised_checkpoint_without_its_package_is_one_problem(
    tmp_path: Path, method: str, package: str
) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    folder = shutil.copytree(SHIPPED, tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": method,
        "load_in_8bit": True,
        "bits": 4,
        "group_size": 32,
    }
    (folder / "config.json").write_text(json.dumps(config))
    said = problem_of(folder)
    assert f"is quantised by {method}, and cannot be loaded here" in said
    assert f"pip install {package}" in said


def test_an_adapter_for_a_quantised_base_is_refused(copied: Path, tmp_path: Path) -> None:
    base = shutil.copytree(SHIPPED, tmp_path / "quantised")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    _configured(base_model_name_or_path=str(base))(copied)
    assert "merging would round its weights" in problem_of(copied)


def test_8_bit_weights_are_attacked_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import AutoProcessor, BitsAndBytesConfig

    quantised = AutoModelForImageTextToText.from_pretrained(
        SHIPPED, quantization_config=BitsAndBytesConfig(load_in_8bit=True), device_map={"": "cpu"}
    )
    quantised.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(SHIPPED).save_pretrained(tmp_path)
    model = opened(tmp_path)
    assert model.differentiable
    assert model.upcast() is None
    bound = model.bind(synthetic_questions()[:1])
    assert bound.answer(bound.batch.images)[0].choice in range(len(bound.batch.questions[0].options))


def test_a_model_is_spread_over_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one device that is this one; over several GPUs it has not been run."""
    pytest.importorskip("accelerate")
    asked: list[object] = []

    def spy(source: Path, **options: Any) -> Any:
        asked.append(options.get("device_map"))
        return load_whole(source, **options)

    monkeypatch.setattr("medrobust_bench.models.load_checkpoint.load_whole", spy)
    spread = opened(SHIPPED, device="all")
    assert asked == ["auto"]
    torch.testing.assert_close(scores(spread), scores(opened(SHIPPED)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("words", [("eos_token",), ("eos_token", "unk_token")])
def test_a_tokenizer_without_a_token_for_padding(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Padding is masked, so that which token stands there changes nothing."""
    folder = shutil.copytree(SHIPPED, tmp_path / "unpadded")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    for name in ("pad_token", *words[1:]):
        config.pop(name, None)
    file.write_text(json.dumps(config))
    model = opened(folder)
    assert model.tokenizer.pad_token_id is not None
    torch.testing.assert_close(scores(model), scores(opened(SHIPPED)), rtol=0, atol=1e-5)


def test_an_image_in_the_middle_of_the_words_is_attacked_all_the_same(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED, tmp_path / "middle")
    (folder / "chat_template.jinja").write_text(
        "{%- for message in messages -%}{%- for part in message.content -%}{%- if part.type == 'text' -%}"
        "<|im_start|>user\nBefore. <|vision_start|><|image_pad|><|vision_end|> {{ part.text }}<|im_end|>\n"
        "{%- endif -%}{%- endfor -%}{%- endfor -%}<|im_start|>assistant\n"
    )
    model = opened(folder)
    prompt = model.render(synthetic_questions()[0])
    assert prompt.index("Before.") < prompt.index("<|image_pad|>") < prompt.index("lesion")
    assert check_adapter(model).passed

"""A model is everything that decides its answers: a change in any part is seen, and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from medrobust_bench.cli import main
from medrobust_bench.leaderboard.checks import identity as checks
from medrobust_bench.models import identity
from medrobust_bench.models.cards import read_card, read_cards
from medrobust_bench.models.pins import write_pins
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve, unpinned
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Identity, ModelRecord
from medrobust_bench.records.folder import RunFolder
from tests.models.edited import SHIPPED, TEMPLATE, copied, with_json, with_template

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# One edit of a checkpoint, and the only part that it may change.
EDITS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "words in the template": (
        "chat template",
        lambda f: with_template(f, TEMPLATE.replace("assistant\\n'", "assistant\\nThe answer is'")),
    ),
    "a system turn in the template": (
        "chat template",
        lambda f: with_template(f, "{{- '<|im_start|>system\nBe brief.<|im_end|>\n' -}}\n" + TEMPLATE),
    ),
    "another mean of the image": (
        "image processor",
        lambda f: with_json(
            f, "processor_config.json", lambda c: c["image_processor"].update(image_mean=[0.9, 0.1, 0.5])
        ),
    ),
    "another filter of the resize": (
        "image processor",
        lambda f: with_json(f, "processor_config.json", lambda c: c["image_processor"].update(resample=2)),
    ),
    "another size of the image": (
        "image processor",
        lambda f: with_json(
            f,
            "processor_config.json",
            lambda c: c["image_processor"].update(size={"longest_edge": 6400, "shortest_edge": 6400}),
        ),
    ),
    "a normaliser of texts": (
        "tokenizer",
        lambda f: with_json(f, "tokenizer.json", lambda c: c.update(normalizer={"type": "Lowercase"})),
    ),
    "merges left out": (
        "tokenizer",
        lambda f: with_json(f, "tokenizer.json", lambda c: c["model"].update(merges=c["model"]["merges"][:-3])),
    ),
    "another norm": (
        "configuration",
        lambda f: with_json(f, "config.json", lambda c: c["text_config"].update(rms_norm_eps=0.01)),
    ),
    "another rotation": (
        "configuration",
        lambda f: with_json(
            f, "config.json", lambda c: c["text_config"]["rope_parameters"].update(rope_theta=10.0)
        ),
    ),
    "another merge of patches": (
        "configuration",
        lambda f: with_json(f, "config.json", lambda c: c["vision_config"].update(hidden_act="gelu")),
    ),
}  # fmt: skip
# What says nothing about the answers.
HARMLESS: dict[str, Callable[[Path], Any]] = {
    "version stamps": lambda f: with_json(f, "config.json", lambda c: c.update(transformers_version="4.0.0")),
    "a note on the dtype": lambda f: with_json(f, "config.json", lambda c: c.update(dtype="bfloat16")),
    "padding of the last batch": lambda f: with_json(
        f,
        "tokenizer.json",
        lambda c: c.update(
            padding={
                "strategy": "BatchLongest",
                "direction": "Left",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "<|endoftext|>",
            }
        ),
    ),
    "a default that is said": lambda f: with_json(
        f, "config.json", lambda c: c["vision_config"].update(in_channels=3)
    ),
}


def identity_of(source: Path | str, mode: AnswerMode | None = None) -> Identity:
    found = load_model(unpinned(resolve(str(source), answer_mode=mode))).record.identity
    assert found is not None
    return found


@pytest.fixture(scope="module")
def usual() -> Identity:
    return identity_of(SHIPPED)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_its_part_and_no_other(name: str, tmp_path: Path, usual: Identity) -> None:
    part, edit = EDITS[name]
    edit(copied(tmp_path / "edit"))
    assert usual.differences(identity_of(tmp_path / "edit")) == [part]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_decides_nothing_changes_nothing(name: str, tmp_path: Path, usual: Identity) -> None:
    HARMLESS[name](copied(tmp_path / "edit"))
    assert identity_of(tmp_path / "edit") == usual


def test_how_the_answer_is_obtained_is_part_of_it(usual: Identity) -> None:
    written = identity_of(SHIPPED, AnswerMode.GENERATE)
    assert usual.differences(written) == ["prompt", "strategy"]
    assert usual.generation is None
    assert written.generation is not None


def test_the_length_limit_is_part_of_what_is_written() -> None:
    card = unpinned(resolve("tiny-sft-reasoning"))
    short = load_model(card.model_copy(update={"max_new_tokens": 3})).record.identity
    usual = load_model(card).record.identity
    assert short is not None
    assert usual is not None
    assert usual.differences(short) == ["generation"]


def test_digests_are_of_canonical_json() -> None:
    assert identity.digest({"b": 1, "a": (1, 2)}) == identity.digest({"a": [1, 2], "b": 1})
    assert identity.digest({"a": 1}) != identity.digest({"a": 2})


@pytest.mark.parametrize("name", [card.id for card in read_cards().values() if card.shipped])
def test_the_shipped_cards_pin_what_is_shipped(name: str) -> None:
    card = resolve(name)
    assert load_model(card).record.identity == card.identity, f"medrobust models pin {name} --write"


def test_a_card_refuses_another_template_at_load(tmp_path: Path) -> None:
    folder = copied(tmp_path / "edit")
    path = tmp_path / "mine.md"
    text = resolve("tiny-sft-letter").path.read_text(encoding="utf-8")  # type: ignore[union-attr]
    path.write_text(text.replace("source: checkpoints/tiny-sft-letter", "source: ./edit"), encoding="utf-8")
    load_model(resolve(str(path)))
    EDITS["words in the template"][1](folder)
    with pytest.raises(InvalidInputError, match="another chat template than the card pins"):
        load_model(resolve(str(path)))
    load_model(
        resolve(str(path), answer_mode=AnswerMode.GENERATE)
    )  # pins of another mode say nothing about it
    assert CliRunner().invoke(main, ["models", "pin", str(path), "--write"]).exit_code == 0
    assert load_model(resolve(str(path))).record.identity == read_card(path).identity


def test_pins_take_the_place_of_pins(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    before = resolve("tiny-grpo").path.read_text(encoding="utf-8")  # type: ignore[union-attr]
    path.write_text(before, encoding="utf-8")
    write_pins(path, Identity(tokenizer="a" * 64))
    assert read_card(path).identity == Identity(tokenizer="a" * 64)
    pins = resolve("tiny-grpo").identity
    assert pins is not None
    write_pins(path, pins)
    assert path.read_text(encoding="utf-8") == before


def run(folder: Path, model: Path, *more: str) -> Any:
    words = ["run", "--model", str(model), "--limit", "8", "--batch-size", "2", "--threat", "noise:draws=1"]
    return CliRunner().invoke(main, [*words, "--out", str(folder), *more])


def test_resume_refuses_another_model_and_says_which_part(tmp_path: Path) -> None:
    """A run that is stopped, a template and an image processor that are mended: not the same model any more."""
    model, out = copied(tmp_path / "edit"), tmp_path / "run"
    assert run(out, model).exit_code == 0
    journal = out / "journal.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[:8]), encoding="utf-8")
    EDITS["words in the template"][1](model)
    EDITS["another mean of the image"][1](model)
    done = CliRunner().invoke(main, ["run", "--resume", "--out", str(out)])
    assert done.exit_code == 2
    assert "chat template, image processor differ" in done.output
    assert len(journal.read_text(encoding="utf-8").splitlines()) == 8, "nothing of the other model is written"


def test_replay_refuses_another_model(tmp_path: Path) -> None:
    model, out = copied(tmp_path / "edit"), tmp_path / "run"
    assert run(out, model).exit_code == 0
    with_template(model, TEMPLATE.replace("user", "human") + "\n")
    EDITS["a normaliser of texts"][1](model)
    done = CliRunner().invoke(main, ["replay", str(out)])
    assert done.exit_code == 2
    assert "another tokenizer" in done.output


def test_compare_says_what_else_differs(tmp_path: Path) -> None:
    model = copied(tmp_path / "edit")
    assert run(tmp_path / "a", model).exit_code == 0
    EDITS["merges left out"][1](model)
    assert run(tmp_path / "b", model).exit_code == 0
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "both have the same weights, but another model is compared: another tokenizer" in " ".join(
        done.output.split()
    )


def test_a_record_without_digests_reads_and_is_written_as_it_was(usual: Identity) -> None:
    old = {
        "id": "m",
        "weights_sha256": "0" * 64,
        "dtype": "float32",
        "answer_mode": "letter",
        "parameters": 1,
    }
    record = ModelRecord.model_validate(old)
    assert record.identity is None
    assert "identity" not in record.model_dump(mode="json")
    now = record.model_copy(update={"identity": usual})
    assert record.differences(now) == []
    assert ModelRecord.model_validate(now.model_dump(mode="json")) == now


def test_a_run_from_before_digests_can_be_resumed(tmp_path: Path) -> None:
    model, out = copied(tmp_path / "edit"), tmp_path / "run"
    assert run(out, model).exit_code == 0
    folder = RunFolder(out)
    record = folder.read()
    old = {name: one.model_copy(update={"identity": None}) for name, one in record.models.items()}
    environment = record.environment.model_copy(update={"device": "auto"})
    folder.write(record.model_copy(update={"models": old, "prompts": {}, "environment": environment}))
    journal = out / "journal.jsonl"
    journal.write_text(
        "".join(journal.read_text(encoding="utf-8").splitlines(keepends=True)[:8]), encoding="utf-8"
    )
    assert CliRunner().invoke(main, ["run", "--resume", "--out", str(out)]).exit_code == 0
    assert folder.read().models["edit"].identity is None, "a part was measured before anybody looked"


def test_verify_holds_a_result_against_the_pins_of_its_card(usual: Identity) -> None:
    card = resolve("tiny-sft-letter")
    record = load_model(card).record

    def told(now: Identity | None) -> str:
        claim: Any = type("Claim", (), {})()
        claim.cards = {card.id: card}
        claim.entry = type(
            "Entry",
            (),
            {"result": type("Result", (), {"model": record.model_copy(update={"identity": now})})},
        )
        return "\n".join(fault.what for fault in checks.card(claim))

    assert told(record.identity) == told(None) == ""
    assert record.identity is not None
    other = record.identity.model_copy(update={"image_processor": "2" * 64})
    assert told(other) == "its image processor is not the one that its card pins"


def test_two_checkpoints_of_one_name_run_together(tmp_path: Path) -> None:
    for folder in ("lr1", "lr2"):
        (tmp_path / folder).mkdir()
        copied(tmp_path / folder / "checkpoint-500")
    EDITS["words in the template"][1](tmp_path / "lr2" / "checkpoint-500")
    first, second = (str(tmp_path / folder / "checkpoint-500") for folder in ("lr1", "lr2"))
    common = ["run", "--limit", "2", "--threat", "noise:draws=1"]
    alike = CliRunner().invoke(
        main, [*common, "--model", first, "--model", second, "--out", str(tmp_path / "x")]
    )
    assert alike.exit_code == 2
    assert "PATH=NAME" in alike.output
    done = CliRunner().invoke(
        main, [*common, "--model", f"{first}=a", "--model", f"{second}=b", "--out", str(tmp_path / "r")]
    )
    assert done.exit_code == 0, done.output
    record = RunFolder(tmp_path / "r").read()
    assert record.plan.models == ("a", "b")
    assert record.models["a"].differences(record.models["b"]) == ["chat template"]
    assert "The answer is" in record.prompts["b"]
    assert "The answer is" not in record.prompts["a"]


def test_a_name_behind_an_equals_sign(tmp_path: Path) -> None:
    assert resolve("tiny-sft-letter=mine").id == "mine"
    assert resolve("owner/name=mine").source == "owner/name"
    assert resolve(str(copied(tmp_path / "lr=1"))).id == "lr=1", "a folder may have one in its own name"
    for wrong in ("tiny-sft-letter=", "tiny-sft-letter=a/b", "tiny-sft-letter=../x"):
        with pytest.raises(InvalidInputError):
            resolve(wrong)

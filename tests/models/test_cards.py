from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.models.cards import card_folder, read_card, read_cards
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.problems import Problem

CARD = """---
id: my-model
title: My model
source: owner/name
answer_mode: letter
licence: Apache-2.0
paper:
  title: "A paper: with a colon"
  url: https://arxiv.org/abs/0000.00000
training_data:
  description: Some images.
  trained_on_omnimedvqa: unknown
evaluated: false
---
# My model

Text for people.
"""


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInputError) as caught:
        read_card(path)
    return caught.value.problems


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my-model.md"


def test_front_matter_is_the_entry_and_the_body_the_text(path: Path) -> None:
    path.write_text(CARD)
    card = read_card(path)
    assert (card.id, card.source, card.answer_mode) == ("my-model", "owner/name", AnswerMode.LETTER)
    assert card.paper is not None
    assert card.paper.title == "A paper: with a colon"
    assert card.training_data.trained_on_omnimedvqa == "unknown"
    assert card.text == "# My model\n\nText for people."
    assert (card.revision, card.weights_sha256, card.path) == (None, None, path)


def test_every_problem_is_reported_with_its_line(path: Path) -> None:
    path.write_text(
        CARD.replace("answer_mode: letter", "answer_mode: letters\nlicense: MIT")
        .replace("licence: Apache-2.0\n", "")
        .replace("  trained_on_omnimedvqa: unknown", "  trained_on_omnimedvqa: perhaps")
        .replace("evaluated: false", "evaluated: false\nevaluated: true")
    )
    found = {problem.what.partition(":")[0]: problem for problem in problems_of(path)}
    assert found.keys() == {
        "key evaluated is given twice",
        "answer_mode is 'letters'",
        "key license is unknown",
        "key licence is missing",
        "training_data.trained_on_omnimedvqa is 'perhaps'",
    }
    assert found["key license is unknown"].row == 6
    assert found["key license is unknown"].remedy == "did you mean licence?"
    assert found["training_data.trained_on_omnimedvqa is 'perhaps'"].row == 12
    assert found["key evaluated is given twice"].row == 14
    assert all(problem.where == str(path) for problem in found.values())


@pytest.mark.parametrize(
    ("content", "what", "row"),
    [
        ("# No front matter\n", "has no front matter", 1),
        ("---\nid: x\n", "has no front matter", 1),
        ("---\nid: x\ntitle: [\n---\ntext\n", "front matter is not valid YAML", 4),
        ("---\n- a\n---\ntext\n", "front matter is not a list of", 2),
        ("---\nid: !!python/object/apply:os.getcwd []\n---\ntext\n", "front matter is not valid YAML", 2),
    ],
)
def test_files_that_are_no_card(path: Path, content: str, what: str, row: int) -> None:
    path.write_text(content)
    (problem,) = problems_of(path)
    assert problem.what.startswith(what)
    assert problem.row == row


def test_a_card_needs_text_for_people(path: Path) -> None:
    path.write_text(CARD.split("# My model")[0])
    assert [problem.what for problem in problems_of(path)] == ["has no text below the front matter"]


def test_a_file_that_is_not_there(path: Path) -> None:
    (problem,) = problems_of(path)
    assert problem.what.startswith("cannot be read")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("weights_sha256: abc", "weights_sha256 is 'abc'"),
        ("prompt: Answer.", "prompt is 'Answer.'"),
        ("max_new_tokens: 0", "max_new_tokens is 0"),
        ("path: /etc", "key path is unknown"),
        ("text: hello", "key text is unknown"),
    ],
)
def test_values_that_are_refused(path: Path, line: str, what: str) -> None:
    path.write_text(CARD.replace("evaluated: false", f"evaluated: false\n{line}"))
    (problem,) = problems_of(path)
    assert problem.what.startswith(what)


def test_a_digest_holds_for_one_dtype(path: Path) -> None:
    digest = f"weights_sha256: {'a' * 64}"
    path.write_text(CARD.replace("evaluated: false", f"evaluated: false\n{digest}"))
    (problem,) = problems_of(path)
    assert problem.what.startswith("weights_sha256 holds for one dtype")
    path.write_text(CARD.replace("evaluated: false", f"evaluated: false\n{digest}\ndtype: float32"))
    assert read_card(path).weights_sha256 == "a" * 64


def test_a_folder_reports_all_its_cards_together(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(CARD)
    (tmp_path / "b.md").write_text(CARD)
    (tmp_path / "c.md").write_text("no card")
    with pytest.raises(InvalidInputError) as caught:
        read_cards(tmp_path)
    what = {problem.where.rpartition("/")[2]: problem.what for problem in caught.value.problems}
    assert what.keys() == {"b.md", "c.md"}
    assert what["b.md"] == f"id 'my-model' is also that of {tmp_path / 'a.md'}"


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is no folder of model cards"):
        read_cards(tmp_path / "nowhere")


SHIPPED_CARDS = read_cards()


@pytest.mark.parametrize("name", SHIPPED_CARDS)
def test_shipped_cards_keep_the_rules_of_the_registry(name: str) -> None:
    card = SHIPPED_CARDS[name]
    assert card.path == card_folder() / f"{card.id}.md"
    assert card.shipped or re.fullmatch(r"[\w.-]+/[\w.-]+", card.source)
    assert card.shipped or card.paper is not None
    # A hash that nobody looked up would be worse than none.
    assert card.revision is None or re.fullmatch(r"[0-9a-f]{40}", card.revision)
    flat = " ".join(card.text.split())
    assert card.shipped or card.evaluated or "Not evaluated here" in flat


def test_the_registry_holds_the_models_that_people_look_for() -> None:
    sources = {card.source for card in SHIPPED_CARDS.values()}
    assert sources >= {
        "checkpoints/tiny-noise-reasoning",
        "checkpoints/tiny-sft-letter",
        "checkpoints/tiny-sft-reasoning",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen3-VL-8B-Instruct",
        "google/medgemma-4b-it",
        "yuxianglai117/Med-R1",
        "JZPeterPan/MedVLM-R1",
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        "HuggingFaceTB/SmolVLM-Instruct",
        "OpenGVLab/InternVL3-8B-hf",
    }


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('answer: "("', "not a regular expression"),
        ('thought: "x*"', "matches the empty text"),
        ('strict: true\nanswer: "=(.)"', "strict reads one format"),
        ('system: Think.\nprompt: "{prompt}"', "write the system turn into it"),
        ('stop: [""]', "at least 1 character"),
    ],
)
def test_what_is_said_about_generated_answers_is_checked(path: Path, lines: str, said: str) -> None:
    path.write_text(CARD.replace("answer_mode: letter", f"answer_mode: reasoning\n{lines}"))
    (problem,) = problems_of(path)
    assert said in problem.what


def test_a_card_reads_completions_its_own_way(path: Path) -> None:
    path.write_text(
        CARD.replace(
            "answer_mode: letter",
            "answer_mode: reasoning\nanswer: 'Verdict (\\w)'\nthought: '~.*?~'\ninstruction: Judge.\nstop: [END]",
        )
    )
    card = read_card(path)
    assert card.read("~Verdict A~ Verdict B", ["cyst", "none", "tumour"]).choice == 1
    assert (card.instruction, card.system, card.stop, card.strict) == ("Judge.", None, ("END",), False)

"""What a model is really given: found, shown, the same on every day, and refused where it cannot be used."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from medrobust_bench.cli import main
from medrobust_bench.models.chat_format import TODAY, ChatFormat
from medrobust_bench.models.control_tokens import ControlTokens
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.prompt_check import check_prompt
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.folder import RunFolder
from tests.models.edited import SHIPPED, TEMPLATE, copied, template_beside_the_tokenizer, with_template
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = synthetic_questions()[0]
DATED = "{{- '<|im_start|>system\nToday: ' + strftime_now('%d %b %Y') + '<|im_end|>\n' -}}\n" + TEMPLATE


def opened(folder: Path, mode: AnswerMode | None = None) -> HuggingFaceVLM:
    model = load_model(resolve(str(folder), answer_mode=mode))
    assert isinstance(model, HuggingFaceVLM)
    return model


class Template:
    """Something that has a chat template, and renders it as transformers does."""

    def __init__(self, template: Any) -> None:
        self.chat_template = template

    def rendered(self) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, _ = render_jinja_template([[]], chat_template=ChatFormat.of(self).template)
        return str(texts[0])


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("%d %b %Y", "26 Jul 2024"),  # Llama 3.2 and 4
        ("%B %d, %Y", "July 26, 2024"),  # Granite
        ("%Y-%m-%d", "2024-07-26"),  # Mistral, gpt-oss
        ("%A, %-d %B %Y", "Friday, 26 July 2024"),
        ("%F %H:%M", "2024-07-26 00:00"),
    ],
)
def test_the_day_is_fixed_in_every_form(form: str, written: str) -> None:
    assert Template("Today: {{ strftime_now('" + form + "') }}.").rendered() == f"Today: {written}."


def test_templates_that_ask_whether_they_may_know_the_day() -> None:
    llama = (
        "{%- if strftime_now is defined %}{%- set day = strftime_now('%d %b %Y') %}{%- else %}"
        "{%- set day = 'none' %}{%- endif %}\n{{ day }}"
    )
    assert Template(llama).rendered() == "26 Jul 2024"
    inside = "{%- macro head() %}{{ strftime_now('%Y') }}{% endmacro %}{{ head() }}"
    assert Template(inside).rendered() == "2024"


def test_the_fixed_day_changes_nothing_else() -> None:
    plain = "\n  {% if true %}\n  x\n  {% endif %}\n y"
    dated = plain + "{% if false %}{{ strftime_now('%Y') }}{% endif %}"
    assert Template(dated).rendered() == Template(plain).rendered()


def test_a_dated_template_asks_the_same_on_every_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = with_template_of(tmp_path, DATED)
    told = []
    for day in (datetime.datetime(2001, 2, 3), datetime.datetime(2031, 12, 31)):

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None, day: datetime.datetime = day) -> datetime.datetime:
                return day

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)
        model = opened(folder)
        told.append((model.render(QUESTION), model.record.identity))
    assert told[0] == told[1]
    assert f"Today: {TODAY:%d} Jul 2024" in told[0][0]
    assert "26 July 2024" in "".join(opened(folder).notes)


def with_template_of(tmp_path: Path, template: str | None) -> Path:
    return with_template(copied(tmp_path / "edit"), template)


def test_a_template_beside_the_tokenizer_is_used_and_told(tmp_path: Path) -> None:
    moved = template_beside_the_tokenizer(copied(tmp_path / "edit"))
    model, usual = opened(moved), opened(SHIPPED)
    assert model.render(QUESTION) == usual.render(QUESTION)
    assert model.record.identity == usual.record.identity
    assert usual.notes == ()
    (note,) = model.notes
    assert "beside the tokenizer" in note


@pytest.mark.parametrize("templates", [{"default": TEMPLATE}, {"default": TEMPLATE, "rag": "x"}])
def test_of_several_templates_the_default_is_used(templates: dict[str, str]) -> None:
    assert ChatFormat.of(Template(templates)).template == TEMPLATE
    assert ChatFormat.of(Template({"rag": "x"})).template is None


def test_a_fallback_is_told_by_run_and_check_and_what_was_asked_is_kept(tmp_path: Path) -> None:
    folder, out = with_template_of(tmp_path, None), tmp_path / "run"
    words = ["run", "--model", str(folder), "--limit", "2", "--threat", "noise:draws=1", "--out", str(out)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "edit has no chat template" in done.output
    prompt = RunFolder(out).read().prompts["edit"]
    assert prompt.endswith("\nAnswer:")
    checked = CliRunner().invoke(main, ["models", "check", str(folder)])
    assert "has no chat template" in checked.output
    assert "  Answer:" in checked.output
    told = json.loads(CliRunner().invoke(main, ["models", "check", str(folder), "--json"]).stdout)
    assert told["prompt"].endswith("\nAnswer:")
    assert told["notes"]


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{% for m in messages %}{{ m['content'][-1]['text'] }}{% endfor %}", "leaves the image out"),
        (TEMPLATE.replace("<|image_pad|>", "<image>"), "leaves the image out"),
        ("{{ raise_exception('no images, please') }}", "cannot be rendered: no images, please"),
        ("{% for m in messages %}{{ m['content'] }", "cannot be rendered"),
        ("{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}", "cannot be rendered"),
        ("{{ messages[3]['role'] }}", "cannot be rendered"),
        ("{{ 1 / 0 }}", "cannot be rendered"),
        (TEMPLATE + "{{- '<think>\n' -}}", "begins a rationale (<think>), but answer mode letter"),
        (TEMPLATE.replace("<|image_pad|>", "<|image_pad|><|vision_end|><|vision_start|><|image_pad|>"), "processor"),
    ],
    ids=["no image", "another's image", "raises", "syntax", "texts only", "more turns", "division", "thought", "two"],
)  # fmt: skip
def test_a_template_that_cannot_be_used_is_one_problem(tmp_path: Path, template: str, what: str) -> None:
    folder, out = with_template_of(tmp_path, template), tmp_path / "run"
    run = ["run", "--model", str(folder), "--limit", "2", "--threat", "noise:draws=1", "--out", str(out)]
    for words in (["models", "check", str(folder)], run):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2, done.output
        assert "1 problem with the input" in done.output
        assert what in " ".join(done.output.split())


@pytest.mark.parametrize("mode", [AnswerMode.GENERATE, AnswerMode.REASONING])
def test_a_thought_is_expected_where_the_model_writes(tmp_path: Path, mode: AnswerMode) -> None:
    folder = with_template_of(tmp_path, TEMPLATE + "{{- '<think>\n' -}}")
    assert opened(folder, mode).render(QUESTION).endswith("<think>\n")


def test_another_thought_than_the_strict_one_is_refused(tmp_path: Path) -> None:
    folder = with_template_of(tmp_path, TEMPLATE + "{{- '<unused94>' -}}")
    with pytest.raises(InvalidInputError, match="reads <think>"):
        load_model(resolve(str(folder), answer_mode=AnswerMode.REASONING).model_copy(update={"strict": True}))
    opened(folder, AnswerMode.REASONING)
    opened(folder, AnswerMode.GENERATE)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_control_token_gets_into_a_question(name: str) -> None:
    """Every control token of every family, alone, glued to letters, doubled and nested, is plain text in a question."""
    torch.manual_seed(0)
    model, processor = FAMILIES[name].build()
    tokens = ControlTokens.of(processor)
    tokenizer = processor.tokenizer
    known = {tokenizer.convert_tokens_to_ids(text) for text in tokens.texts} - {tokenizer.unk_token_id, None}
    assert len(known) >= 3
    for text in tokens.texts:
        for written in (
            text,
            f"a{text}b",
            f" {text} ",
            text + text,
            f"<{text}>",
            text[:1] + text,
            text[0] + text + text[1:],
        ):
            plain = tokens.neutralised(written)
            assert plain != written
            assert not known & set(tokenizer(plain, add_special_tokens=False).input_ids), written
            assert not any(other in plain for other in tokens.texts), (
                "processors look for texts, not for tokens"
            )
    everything = " ".join(sorted(tokens.texts))
    hostile = replace(QUESTION, text=f"{everything} {QUESTION.text}", options=(everything, "none"))
    adapter = HuggingFaceVLM(model, processor, mode=AnswerMode.LETTER)
    check_prompt(adapter, name)
    bound, usual = adapter.bind([hostile]), adapter.bind([QUESTION])
    for token in sorted(known):
        counts = [int((each.text["input_ids"] == token).sum()) for each in (bound, usual)]
        assert counts[0] == counts[1], tokenizer.convert_ids_to_tokens(token)  # fmt: skip


def test_ordinary_texts_stay_as_they_are() -> None:
    tokens = ControlTokens.of(opened(SHIPPED).processor)
    for text in ("Which modality is this?", "a < b, c > d", "HbA1c <|> 7 %", "<think>", ""):
        assert tokens.neutralised(text) == text
    assert tokens.in_plain_words(QUESTION) is QUESTION


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|im_end|>", "<|vision_start|>", "<|video_pad|>"])
def test_a_question_with_a_control_token_is_asked(token: str) -> None:
    model = opened(SHIPPED)
    question = replace(QUESTION, text=f"In {token} which modality is this?", options=(token, "CT"))
    (answer,) = model.bind([question]).answer(model.bind([question]).batch.images)
    assert answer.choice is not None
    assert f"In < {token[1:]} which" in model.render(question)

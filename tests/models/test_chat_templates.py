"""The cards of models that think: their chat format, and how what they write in it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from medrobust_bench.models.answer_marks import opened_thought
from medrobust_bench.models.cards import Card, read_cards
from medrobust_bench.models.conversation import conversation
from medrobust_bench.models.read_answer import Tier

TEMPLATES = Path(__file__).with_name("templates")
OPTIONS = ("Melanoma", "Nevus", "Basal cell carcinoma", "Dermatofibroma")
QUESTION = "What is this?\nA) Melanoma\nB) Nevus\nC) Basal cell carcinoma\nD) Dermatofibroma"
CARDS = read_cards()
QWEN = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{words}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass(frozen=True, slots=True)
class Format:
    """How a family is asked and answers: its template, the prompt that this gives, and completions that mean B."""

    template: str
    prompt: str
    completions: dict[str, Tier]


FORMATS = {
    "med-r1": Format(
        "qwen2_vl",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + QWEN,
        {
            "<think>Not A.</think> <answer>B</answer><|im_end|>": Tier.TAGS,
            "<answer>B) Nevus</answer>": Tier.TAGS,
            "<think>Not A.</think><answer>Nevus</answer>": Tier.TAGS,
        },
    ),
    "medvlm-r1": Format(
        "qwen2_vl",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + QWEN,
        {"<think>\nNot A.\n</think>\n\n<answer>\nB\n</answer>": Tier.TAGS},
    ),
    "medvlthinker-7b": Format(
        "qwen2_vl",
        "<|im_start|>system\n{system}<|im_end|>\n" + QWEN,
        {"<think> Not A. </think>\n<answer> B. Nevus </answer>": Tier.TAGS},
    ),
    "lingshu-7b": Format(
        "qwen2_vl",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + QWEN,
        {"\\boxed{B}": Tier.BOXED, "It is a nevus.\n\n\\boxed{\\text{B. Nevus}}<|im_end|>": Tier.BOXED},
    ),
    "qwen3-vl-8b-thinking": Format(
        "qwen3_vl_thinking",
        QWEN + "<think>\n",
        {
            "Got it. A? No.\n</think>\n\n\\boxed{B}<|im_end|>": Tier.BOXED,
            "So \\boxed{A}? No.\n</think>\n\nThe answer is **B**.": Tier.STATED,
        },
    ),
    "glm-4.1v-9b-thinking": Format(
        "glm_4_1v",
        "[gMASK]<sop><|user|>\n<|begin_of_image|><|image|><|end_of_image|>{words}<|assistant|>\n",
        {
            "<think>Not A.</think><answer>So <|begin_of_box|>B<|end_of_box|></answer>": Tier.TAGS,
            "Not A.</think><answer><|begin_of_box|>B. Nevus<|end_of_box|></answer>": Tier.TAGS,
        },
    ),
    "medgemma-4b": Format(
        "gemma_3",
        "<bos><start_of_turn>user\n<start_of_image>{words}<end_of_turn>\n<start_of_turn>model\n",
        {"**B) Nevus**<end_of_turn>": Tier.LETTER},
    ),
    "medgemma-1.5-4b": Format(
        "gemma_3",
        "<bos><start_of_turn>user\n{system}\n\n<start_of_image>{words}<end_of_turn>\n<start_of_turn>model\n",
        {
            "<unused94>thought\nIt could be A.\nFinal answer A?<unused95>Final answer B<end_of_turn>": Tier.STATED,
            "Final Answer: The final answer is $\\boxed{B}$": Tier.BOXED,
        },
    ),
    "internvl3-8b": Format(
        "internvl",
        "<|im_start|>user\n<IMG_CONTEXT>\n{words}<|im_end|>\n<|im_start|>assistant\n",
        {"B. Nevus": Tier.LETTER},
    ),
    "internvl3.5-8b-thinking": Format(
        "internvl",
        "<|im_start|>system\n{system}<|im_end|>\n"
        "<|im_start|>user\n<IMG_CONTEXT>\n{words}<|im_end|>\n<|im_start|>assistant\n",
        {"<think>\nA or B. B.\n</think>\n\nB<|im_end|>": Tier.LETTER},
    ),
    "huatuogpt-vision-7b": Format(
        "llava_qwen",
        "<|im_start|>user\n<image>\n{words}<|im_end|>\n<|im_start|>assistant\n",
        {"The lesion in the image is a nevus, so the answer is B.": Tier.STATED},
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({"<bos>": 0, "<unk>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<bos>", unk_token="<unk>")


def ask(card: Card, template: str, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """What the user says, and the model's whole input."""
    words = f"{QUESTION}\n{card.instruction or 'Answer.'}"
    text: str = tokenizer.apply_chat_template(
        conversation(words, system=card.system),
        chat_template=(TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8"),
        tokenize=False,
        add_generation_prompt=True,
    )
    return words, text


def test_ten_families_are_covered() -> None:
    assert len(FORMATS) >= 10
    assert FORMATS.keys() <= CARDS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_the_template_gets_system_turn_image_question_and_instruction(
    name: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    card, family = CARDS[name], FORMATS[name]
    words, text = ask(card, family.template, tokenizer)
    assert text == family.prompt.replace("{words}", words).replace("{system}", card.system or "")


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_family_writes_is_read(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    card, family = CARDS[name], FORMATS[name]
    _, text = ask(card, family.template, tokenizer)
    for completion, tier in family.completions.items():
        answer = card.read(opened_thought(text) + completion, OPTIONS)
        assert (answer.choice, answer.tier) == (1, tier), completion


@pytest.mark.parametrize("name", [name for name in FORMATS if CARDS[name].answer_mode.value == "reasoning"])
def test_a_rationale_that_is_cut_off_answers_nothing(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    card, family = CARDS[name], FORMATS[name]
    _, text = ask(card, family.template, tokenizer)
    begins = opened_thought(text) or ("<unused94>thought\n" if family.template == "gemma_3" else "<think>")
    assert card.read(begins + "The answer is B. Wait,", OPTIONS).choice is None


@pytest.mark.parametrize("name", FORMATS)
def test_a_completion_that_is_stopped_early_reads_the_same(name: str) -> None:
    card = CARDS[name]
    for completion, tier in FORMATS[name].completions.items():
        for stop in card.stop:
            if stop in completion:
                cut = completion[: completion.index(stop) + len(stop)]
                assert (card.read(cut, OPTIONS).choice, card.read(cut, OPTIONS).tier) == (1, tier)


def test_the_shipped_reasoning_models_are_read_strictly() -> None:
    for card in CARDS.values():
        assert card.strict == (card.shipped and card.answer_mode.value == "reasoning"), card.id


def test_an_opened_thought_is_found() -> None:
    assert opened_thought("assistant\n<think>\n") == "<think>"
    assert opened_thought("assistant\n") == ""
    assert opened_thought("<think>x</think>\nassistant") == ""

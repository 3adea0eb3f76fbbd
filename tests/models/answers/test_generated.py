"""The mode `generate`: what is asked, read and rewritten, and a whole run of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

import medrobust_bench
from medrobust_bench.models.answers.generated import Generated
from medrobust_bench.models.answers.registry import STRATEGIES, strategy_of
from medrobust_bench.models.cards import read_cards
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.read_answer import Tier
from tests.models.answers import corpus

OPTIONS = ("Melanoma", "Nevus", "Basal cell carcinoma", "Dermatofibroma")
QUESTION = synthetic_questions()[0]


def test_every_mode_has_its_strategy() -> None:
    assert STRATEGIES.keys() == set(AnswerMode)


def test_it_reads_the_corpus_as_it_is_meant() -> None:
    strategy = STRATEGIES[AnswerMode.GENERATE]
    for completion in corpus.completions():
        assert strategy.read(completion.text, completion.options).choice == completion.choice


def test_what_it_writes_it_reads() -> None:
    strategy = Generated()
    for letter in "ABCD":
        for rationale in ("", "The border is sharp."):
            assert strategy.read(strategy.write(rationale, letter), OPTIONS).choice == "ABCD".index(letter)


def test_a_card_gives_instruction_and_patterns() -> None:
    strategy = Generated(instruction="Judge.", pattern=r"Verdict: (\w)", thought=r"~.*?~")
    assert strategy.prompt(QUESTION).endswith("\nJudge.")
    answer = strategy.read("~Verdict: A~ B or C. Verdict: D", OPTIONS)
    assert (answer.choice, answer.tier) == (3, Tier.PATTERN)


def test_a_card_chooses_how_its_model_is_asked_and_read() -> None:
    cards = read_cards()
    assert strategy_of(cards["safemed-r1-tiny"]) is STRATEGIES[AnswerMode.REASONING]
    assert strategy_of(cards["qwen2.5-vl-7b"]) is STRATEGIES[AnswerMode.LETTER]
    thinking = strategy_of(cards["medvlm-r1"])
    assert thinking.thinks
    assert "single-letter choice" in thinking.prompt(QUESTION)
    assert thinking.read("<think>A?</think> <answer> B. Nevus </answer>", OPTIONS).choice == 1
    usual = strategy_of(cards["med-r1"])
    assert usual.prompt(QUESTION) == STRATEGIES[AnswerMode.REASONING].prompt(QUESTION)
    assert usual.read(usual.write("Not A.", "C"), OPTIONS).choice == 2


def test_scores_of_a_model_that_thinks_come_after_an_empty_rationale() -> None:
    folder = Path(medrobust_bench.__file__).parent / "checkpoints" / "tiny-sft-reasoning"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt, bridge in (("Q", "<think></think>\n"), ("Q<think>\n", "</think>\n")):
        scorer = Generated(thinks=True).scorer(tokenizer, [prompt], [QUESTION], torch.device("cpu"))
        assert tokenizer.decode(scorer.leads[0]) == bridge
    assert Generated().scorer(tokenizer, ["Q"], [QUESTION], torch.device("cpu")).leads == ((),)


def test_only_the_answer_that_was_given_is_rewritten() -> None:
    strategy = Generated()
    assert strategy.rewrite("The answer is B.", OPTIONS, 1, 3, words=False) == "The answer is D."
    assert strategy.rewrite("The answer is B.", OPTIONS, 0, 3, words=False) == "The answer is B."
    assert strategy.rewrite("A or B", OPTIONS, 0, 3, words=False) == "A or B"


@pytest.mark.parametrize("name", ["tiny-sft-letter", "tiny-sft-reasoning"])
def test_a_checkpoint_answers_in_its_own_words_and_can_be_attacked(name: str) -> None:
    folder = Path(medrobust_bench.__file__).parent / "checkpoints" / name
    model = HuggingFaceVLM.from_pretrained(folder, mode=AnswerMode.GENERATE, device="cpu")
    bound = model.bind(synthetic_questions()[:2])
    generation = bound.generation
    assert generation is not None
    answers = bound.answer(list(bound.batch.images))
    for row, answer in enumerate(answers):
        assert answer.text
        assert answer.choice == Generated().read(answer.text, bound.batch.questions[row].options).choice
    written = generation.clean()
    scored = generation.logits(bound.batch.pixels(), written)
    assert scored.tokens.shape[0] == 2
    assert [generation.text(row, tokens) for row, tokens in enumerate(written)] == [
        answer.text for answer in answers
    ]

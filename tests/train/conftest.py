from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.models.prompt import AnswerMode, prompt_text
from medrobust_bench.train.architecture import TinyArchitecture
from medrobust_bench.train.examples import rationale
from medrobust_bench.train.tokenizer import learn_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from medrobust_bench.data.question import Question

SMALL = TinyArchitecture(
    vision_layers=1,
    vision_width=32,
    vision_heads=1,
    text_layers=1,
    text_width=32,
    text_heads=1,
    vocabulary=400,
)


@pytest.fixture(scope="session")
def questions() -> tuple[Question, ...]:
    return phantom_questions("train", per_modality=5, seed=3)


@pytest.fixture(scope="session")
def tokenizer(questions: tuple[Question, ...]) -> PreTrainedTokenizerFast:
    texts = [text for q in questions for text in (prompt_text(q, AnswerMode.REASONING), rationale(q))]
    return learn_tokenizer(texts, vocabulary=SMALL.vocabulary)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)

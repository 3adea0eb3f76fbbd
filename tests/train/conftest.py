from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.architecture import TinyArchitecture, build_model
from medrobust_bench.train.examples import rationale
from medrobust_bench.train.tokenizer import learn_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

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
    texts = [text for q in questions for text in (STRATEGIES[AnswerMode.REASONING].prompt(q), rationale(q))]
    return learn_tokenizer(texts, vocabulary=SMALL.vocabulary)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@torch.no_grad()
def attentive_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """A new model whose only layer looks everywhere; as drawn for training it sees the token before, no image."""
    torch.manual_seed(0)
    model = build_model(SMALL, tokenizer)
    attention = model.model.language_model.layers[0].self_attn
    for projection in (attention.q_proj, attention.k_proj):
        projection.bias.zero_()
    return model

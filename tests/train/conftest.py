from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.train.architecture import TinyArchitecture, build_model, build_processor
from medrobust_bench.train.examples import rationale
from medrobust_bench.train.settings import SftSettings, Stage, TrainingData
from medrobust_bench.train.sft import fine_tune
from medrobust_bench.train.tasks import Task
from medrobust_bench.train.tokenizer import learn_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

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
DATA = TrainingData(per_modality=5, validation_per_modality=1)


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


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A model that has learnt to say a letter and stop, whichever: some rollouts of every group are right."""
    start, out = tmp_path_factory.mktemp("start"), tmp_path_factory.mktemp("base")
    attentive_model(tokenizer).save_pretrained(start)
    build_processor(SMALL, tokenizer).save_pretrained(start)
    recipe = SftSettings(
        base=str(start),
        mode=AnswerMode.LETTER,
        data=DATA,
        stages=(Stage(steps=25, tasks={Task.LETTER: 1.0}),),
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=0,
        evaluate_every=25,
        threads=1,
    )
    fine_tune(recipe, out, report=lambda line: None)
    return out

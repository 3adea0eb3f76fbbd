"""What the tiny models of all families have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers as tf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@dataclass(frozen=True)
class Family:
    """An architecture.

    Attributes:
        build: makes model and processor.
        native: (height, width) that the image processor does not resize; None where it always resizes.
        differentiable: whether gradients reach the pixels.
        batchable: whether left-padded batches leave a question's logits alone.
    """

    build: Callable[[], tuple[Any, Any]]
    native: tuple[int, int] | None
    differentiable: bool = True
    batchable: bool = True

    def save(self, folder: Path) -> Path:
        """Build with a fixed seed and save as a checkpoint."""
        torch.manual_seed(0)
        model, processor = self.build()
        spread_weights(model)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder


def spread_weights(model: torch.nn.Module) -> None:
    """Weights of the usual scale; the tiny ones of a fresh model (and Mllama's closed gates) hide the image."""
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif name.endswith("gate") or "gate_" in name:
            torch.nn.init.ones_(parameter)


def tokenizer(*others: str, **named: str) -> tf.PreTrainedTokenizerFast:
    """A tokenizer with special tokens, `named` ones being its attributes (`image_token="<image>"`)."""
    texts = [STRATEGIES[mode].prompt(question) for question in synthetic_questions() for mode in AnswerMode]
    special = list(dict.fromkeys(["<pad>", "<s>", "</s>", *named.values(), *others]))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(special) + 60,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_specific_special_tokens=named,
    )


def chat(image: str) -> str:
    """A chat template that writes `image` where the picture goes."""
    return (
        "{% for message in messages %}<s>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}"
    )


def text_of(words: tf.PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    """Settings of a tiny text model."""
    ends = {
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
    }
    return {"vocab_size": len(words) + 8, **TEXT, **ends, **more}


def clip_tower(**more: Any) -> tf.CLIPVisionConfig:
    return tf.CLIPVisionConfig(**TOWER, image_size=64, patch_size=16, **more)


def siglip_tower(**more: Any) -> tf.SiglipVisionConfig:
    return tf.SiglipVisionConfig(**TOWER, image_size=64, patch_size=16, vision_use_head=False, **more)


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}

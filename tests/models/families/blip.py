"""BLIP-2 and InstructBLIP."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, square, tokenizer


def opt(words: tf.PreTrainedTokenizerFast) -> tf.OPTConfig:
    """The text model of the BLIP-2 line."""
    return tf.OPTConfig(
        vocab_size=len(words) + 8,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=2048,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )


def blip_2() -> tuple[Any, Any]:
    words = tokenizer()
    processor = tf.Blip2Processor(tf.BlipImageProcessor(size=square(64)), words, num_query_tokens=4)
    config = tf.Blip2Config(
        vision_config={**TOWER, "image_size": 64, "patch_size": 16},
        qformer_config={**TOWER, "encoder_hidden_size": 32, "vocab_size": 64},
        text_config=opt(words),
        num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    return tf.Blip2ForConditionalGeneration(config), processor


def instructblip() -> tuple[Any, Any]:
    words, question_words = tokenizer(), tokenizer()
    processor = tf.InstructBlipProcessor(
        tf.BlipImageProcessor(size=square(64)), words, question_words, num_query_tokens=4
    )
    config = tf.InstructBlipConfig(
        vision_config={**TOWER, "image_size": 64, "patch_size": 16},
        qformer_config={**TOWER, "encoder_hidden_size": 32, "vocab_size": len(question_words) + 8},
        text_config=opt(words),
        num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    return tf.InstructBlipForConditionalGeneration(config), processor

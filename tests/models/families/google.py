"""Gemma and PaliGemma."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, chat, siglip_tower, square, text_of, tokenizer

GEMMA_TOKENS = {
    "image_token": "<image_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
}


def gemma3() -> tuple[Any, Any]:
    words = tokenizer(**GEMMA_TOKENS)
    config = tf.Gemma3Config(
        text_config=text_of(
            words, head_dim=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
        ),
        vision_config=siglip_tower(),
        mm_tokens_per_image=4,
        boi_token_index=words.boi_token_id,
        eoi_token_index=words.eoi_token_id,
        image_token_index=words.image_token_id,
    )
    processor = tf.Gemma3Processor(
        tf.Gemma3ImageProcessor(size=square(64)),
        words,
        image_seq_length=4,
        chat_template=chat("<start_of_image>"),
    )
    return tf.Gemma3ForConditionalGeneration(config), processor


def gemma4() -> tuple[Any, Any]:
    words = tokenizer(
        "<|video|>", **GEMMA_TOKENS, audio_token="<audio>", boa_token="<boa>", eoa_token="<eoa>"
    )
    config = tf.Gemma4Config(
        text_config=text_of(
            words,
            head_dim=8,
            global_head_dim=8,
            hidden_size_per_layer_input=0,
            vocab_size_per_layer_input=len(words) + 8,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ),
        vision_config={
            **TOWER,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "patch_size": 4,
            "pooling_kernel_size": 2,
        },
        audio_config=None,
        boi_token_id=words.boi_token_id,
        eoi_token_id=words.eoi_token_id,
        image_token_id=words.image_token_id,
        audio_token_id=words.audio_token_id,
        boa_token_id=words.boa_token_id,
        video_token_id=words.convert_tokens_to_ids("<|video|>"),
    )
    images = {"patch_size": 4, "max_soft_tokens": 70, "pooling_kernel_size": 2}
    processor = tf.Gemma4Processor(
        tf.Gemma4AudioFeatureExtractor(),
        tf.Gemma4ImageProcessor(**images),
        words,
        tf.Gemma4VideoProcessor(**images),
        image_seq_length=70,
        chat_template=chat("<image_soft_token>"),
    )
    return tf.Gemma4ForConditionalGeneration(config), processor


def paligemma() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    images = tf.SiglipImageProcessor(size=square(64))
    images.image_seq_length = 16
    processor = tf.PaliGemmaProcessor(images, words, chat_template=chat("<image>"))
    config = tf.PaliGemmaConfig(
        vision_config=siglip_tower(projection_dim=32),
        text_config=tf.GemmaConfig(**text_of(words, head_dim=8)),
        image_token_index=words.image_token_id,
        projection_dim=32,
        hidden_size=32,
    )
    return tf.PaliGemmaForConditionalGeneration(config), processor

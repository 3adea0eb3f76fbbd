"""Idefics and SmolVLM."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, chat, text_of, tokenizer

IDEFICS3_TOKENS = (
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)


def idefics2() -> tuple[Any, Any]:
    words = tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    config = tf.Idefics2Config(
        vision_config={**TOWER, "image_size": 64, "patch_size": 16},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
            "num_key_value_heads": 1,
        },
        text_config=tf.MistralConfig(**text_of(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    images = tf.Idefics2ImageProcessor(
        size={"shortest_edge": 48, "longest_edge": 64}, do_image_splitting=False
    )
    processor = tf.Idefics2Processor(images, words, image_seq_len=4, chat_template=chat("<image>"))
    return tf.Idefics2ForConditionalGeneration(config), processor


def idefics3() -> tuple[Any, Any]:
    words = tokenizer(*IDEFICS3_TOKENS)
    config = tf.Idefics3Config(
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        text_config=tf.LlamaConfig(**text_of(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    images = tf.Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = tf.Idefics3Processor(images, words, image_seq_len=4, chat_template=chat("<image>"))
    return tf.Idefics3ForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    words = tokenizer(*IDEFICS3_TOKENS, "<video>")
    config = tf.SmolVLMConfig(
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        text_config=tf.LlamaConfig(**text_of(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(**sizes),
        words,
        tf.SmolVLMVideoProcessor(**sizes, video_sampling={"num_frames": 2, "fps": 1, "max_frames": 2}),
        image_seq_len=4,
        chat_template=chat("<image>"),
    )
    return tf.SmolVLMForConditionalGeneration(config), processor

"""Aya Vision and Cohere2 Vision."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, chat, siglip_tower, square, text_of, tokenizer


def aya_vision() -> tuple[Any, Any]:
    marks = [
        "<|START_OF_IMG|>",
        "<|END_OF_IMG|>",
        "<|IMG_PATCH|>",
        "<|IMG_LINE_BREAK|>",
        "TILE",
        "TILE_GLOBAL",
    ]
    words = tokenizer("<image>", *marks, *(f"TILE_{n}" for n in range(1, 5)))
    config = tf.AyaVisionConfig(
        vision_config=siglip_tower(),
        text_config=tf.Cohere2Config(**text_of(words)),
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
    )
    processor = tf.AyaVisionProcessor(
        tf.GotOcr2ImageProcessor(size=square(64), crop_to_patches=True, max_patches=4),
        words,
        patch_size=16,
        img_size=64,
        downsample_factor=2,
        chat_template=chat("<image>"),
    )
    return tf.AyaVisionForConditionalGeneration(config), processor


def cohere2_vision() -> tuple[Any, Any]:
    words = tokenizer(
        image_token="<|IMG_PATCH|>",
        boi_token="<|START_OF_IMG|>",
        eoi_token="<|END_OF_IMG|>",
        img_line_break_token="<|IMG_LINE_BREAK|>",
    )
    config = tf.Cohere2VisionConfig(
        vision_config=tf.SiglipVisionConfig(**TOWER, image_size=32, patch_size=4, vision_use_head=False),
        text_config=tf.Cohere2Config(**text_of(words)),
        image_token_id=words.image_token_id,
        downsample_factor=2,
        alignment_intermediate_size=32,
    )
    images = tf.Cohere2VisionImageProcessor(
        size=square(32), patch_size=4, crop_to_patches=True, max_patches=4
    )
    processor = tf.Cohere2VisionProcessor(images, words, chat_template=chat("<|IMG_PATCH|>"))
    return tf.Cohere2VisionForConditionalGeneration(config), processor

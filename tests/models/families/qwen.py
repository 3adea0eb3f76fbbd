"""Qwen-VL, and GLM-V with the same kind of image processor."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import chat, text_of, tokenizer

QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def qwen_vision(**more: Any) -> dict[str, Any]:
    """Settings of a tiny Qwen vision tower."""
    return {
        "depth": 2,
        "num_heads": 2,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        **more,
    }


def qwen_images(**more: Any) -> dict[str, Any]:
    """Settings of the Qwen image and video processors."""
    return {"patch_size": 8, "merge_size": 2, "size": {"shortest_edge": 4096, "longest_edge": 6144}, **more}


def qwen_ids(words: tf.PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids of the Qwen vision tokens."""
    start, end, image, video = words.convert_tokens_to_ids(list(QWEN_TOKENS))
    return {
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "image_token_id": image,
        "video_token_id": video,
    }


def mrope(*section: int, **more: Any) -> dict[str, Any]:
    """Multimodal rotary positions for heads of 8 channels."""
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": list(section), **more}


def qwen2_vl() -> tuple[Any, Any]:
    words = tokenizer(*QWEN_TOKENS)
    vision = qwen_vision(embed_dim=32, hidden_size=32, mlp_ratio=2)
    text = text_of(words, rope_parameters=mrope(2, 1, 1))
    config = tf.Qwen2VLConfig(text_config=text, vision_config=vision, **qwen_ids(words))
    processor = tf.Qwen2VLProcessor(
        tf.Qwen2VLImageProcessor(**qwen_images()),
        words,
        tf.Qwen2VLVideoProcessor(**qwen_images()),
        chat_template=chat(QWEN_IMAGE),
    )
    return tf.Qwen2VLForConditionalGeneration(config), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    words = tokenizer(*QWEN_TOKENS)
    vision = qwen_vision(
        hidden_size=32, intermediate_size=48, out_hidden_size=32, window_size=32, fullatt_block_indexes=[1]
    )
    text = text_of(words, rope_parameters=mrope(2, 1, 1))
    config = tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **qwen_ids(words))
    processor = tf.Qwen2_5_VLProcessor(
        tf.Qwen2VLImageProcessor(**qwen_images()),
        words,
        tf.Qwen2VLVideoProcessor(**qwen_images()),
        chat_template=chat(QWEN_IMAGE),
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    words = tokenizer(*QWEN_TOKENS)
    vision = qwen_vision(
        hidden_size=32,
        intermediate_size=48,
        out_hidden_size=32,
        num_position_embeddings=64,
        deepstack_visual_indexes=[0],
    )
    text = text_of(words, head_dim=8, rope_parameters=mrope(2, 1, 1, mrope_interleaved=True))
    config = tf.Qwen3VLConfig(text_config=text, vision_config=vision, **qwen_ids(words))
    return tf.Qwen3VLForConditionalGeneration(config), qwen3_processor(words)


def qwen3_processor(words: tf.PreTrainedTokenizerFast) -> Any:
    """Qwen3-VL's processor, which Qwen3.5 shares."""
    return tf.Qwen3VLProcessor(
        tf.Qwen2VLImageProcessor(**qwen_images()),
        words,
        tf.Qwen3VLVideoProcessor(**qwen_images()),
        chat_template=chat(QWEN_IMAGE),
    )


def qwen3_5() -> tuple[Any, Any]:
    words = tokenizer(*QWEN_TOKENS)
    vision = qwen_vision(hidden_size=32, intermediate_size=48, out_hidden_size=32, num_position_embeddings=64)
    text = text_of(
        words,
        head_dim=16,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=["linear_attention", "full_attention"],
        rope_parameters=mrope(2, 1, 1, mrope_interleaved=True, partial_rotary_factor=0.5),
    )
    config = tf.Qwen3_5Config(text_config=text, vision_config=vision, **qwen_ids(words))
    return tf.Qwen3_5ForConditionalGeneration(config), qwen3_processor(words)


def glm4v() -> tuple[Any, Any]:
    tokens = ["<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    words = tokenizer(*tokens, image_token="<|image|>", video_token="<|video|>")
    ids = dict(
        zip(
            ("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id"),
            words.convert_tokens_to_ids(tokens),
            strict=True,
        )
    )
    vision = qwen_vision(hidden_size=32, intermediate_size=48, out_hidden_size=32, image_size=64)
    text = text_of(words, rope_parameters=mrope(2, 1, 1, partial_rotary_factor=1.0))
    config = tf.Glm4vConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=words.image_token_id,
        video_token_id=words.video_token_id,
        **ids,
    )
    size = {"shortest_edge": 8192, "longest_edge": 12288}  # counts both frames of a still image
    processor = tf.Glm4vProcessor(
        tf.Glm4vImageProcessor(**qwen_images(size=size)),
        words,
        tf.Glm4vVideoProcessor(**qwen_images(size=size)),
        chat_template=chat("<|begin_of_image|><|image|><|end_of_image|>"),
    )
    return tf.Glm4vForConditionalGeneration(config), processor

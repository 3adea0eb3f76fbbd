"""LLaVA, and others that project a tower's patches into a language model."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, chat, clip_tower, siglip_tower, square, text_of, tokenizer


def llava() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    config = tf.LlavaConfig(
        vision_config=clip_tower(),
        text_config=tf.LlamaConfig(**text_of(words)),
        image_token_index=words.image_token_id,
    )
    processor = tf.LlavaProcessor(
        tf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=square(64)),
        words,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.LlavaForConditionalGeneration(config), processor


def llava_next() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    pinpoints = [[64, 128], [128, 64], [128, 128]]
    config = tf.LlavaNextConfig(
        vision_config=clip_tower(),
        text_config=tf.LlamaConfig(**text_of(words)),
        image_token_index=words.image_token_id,
        image_grid_pinpoints=pinpoints,
    )
    processor = tf.LlavaNextProcessor(
        tf.LlavaNextImageProcessor(
            size={"shortest_edge": 64}, crop_size=square(64), image_grid_pinpoints=pinpoints
        ),
        words,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>", video_token="<video>")
    pinpoints = [[64, 64], [64, 128], [128, 64], [128, 128]]
    config = tf.LlavaOnevisionConfig(
        vision_config=siglip_tower(),
        text_config=tf.Qwen2Config(**text_of(words)),
        image_token_index=words.image_token_id,
        video_token_index=words.video_token_id,
        image_grid_pinpoints=pinpoints,
    )
    processor = tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessor(size=square(64), image_grid_pinpoints=pinpoints),
        words,
        tf.LlavaOnevisionVideoProcessor(size=square(64)),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat("<image>"),
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    words = tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = tf.InternVLConfig(
        vision_config={**TOWER, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=tf.Qwen2Config(**text_of(words)),
        image_token_id=words.context_image_token_id,
        image_seq_length=4,
    )
    images = tf.GotOcr2ImageProcessor(size=square(32), crop_to_patches=True, max_patches=4)
    processor = tf.InternVLProcessor(
        images,
        words,
        tf.InternVLVideoProcessor(size=square(32)),
        image_seq_length=4,
        chat_template=chat("<IMG_CONTEXT>"),
    )
    return tf.InternVLForConditionalGeneration(config), processor


def mistral3() -> tuple[Any, Any]:
    words = tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = tf.Mistral3Config(
        vision_config=tf.PixtralVisionConfig(**TOWER, image_size=64, patch_size=8, head_dim=8),
        text_config=tf.MistralConfig(**text_of(words, head_dim=8)),
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    images = tf.PixtralImageProcessor(size={"longest_edge": 64}, patch_size=square(8))
    processor = tf.PixtralProcessor(
        images, words, patch_size=8, spatial_merge_size=2, chat_template=chat("[IMG]")
    )
    return tf.Mistral3ForConditionalGeneration(config), processor


def deepseek_vl() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image_placeholder>")
    config = tf.DeepseekVLConfig(
        text_config=tf.LlamaConfig(**text_of(words)),
        vision_config=siglip_tower(),
        image_token_id=words.image_token_id,
    )
    processor = tf.DeepseekVLProcessor(
        tf.DeepseekVLImageProcessor(size=square(64)),
        words,
        num_image_tokens=16,
        chat_template=chat("<image_placeholder>"),
    )
    return tf.DeepseekVLForConditionalGeneration(config), processor

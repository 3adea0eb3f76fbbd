"""Models for small devices: LFM2-VL, Ovis2, MiniCPM-V."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, chat, square, text_of, tokenizer
from tests.models.families.idefics import IDEFICS3_TOKENS
from tests.models.families.qwen import mrope


def lfm2_vl() -> tuple[Any, Any]:
    tokens = ("<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", *IDEFICS3_TOKENS[4:])
    words = tokenizer(
        *tokens[3:],
        image_token="<image>",
        image_start_token=tokens[0],
        image_end_token=tokens[1],
        image_thumbnail_token=tokens[2],
    )
    text = text_of(words, layer_types=["conv", "full_attention"])
    config = tf.Lfm2VlConfig(
        vision_config=tf.Siglip2VisionConfig(**TOWER, patch_size=8, num_patches=64, vision_use_head=False),
        text_config=tf.Lfm2Config(**text),
        image_token_id=words.image_token_id,
        projector_hidden_size=32,
        downsample_factor=2,
    )
    images = tf.Lfm2VlImageProcessor(
        encoder_patch_size=8, tile_size=64, min_image_tokens=4, max_image_tokens=16, max_num_patches=64
    )
    processor = tf.Lfm2VlProcessor(images, words, chat_template=chat("<image>"))
    return tf.Lfm2VlForConditionalGeneration(config), processor


def ovis2() -> tuple[Any, Any]:
    atoms = ["<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    words = tokenizer("<image>", *atoms)
    config = tf.Ovis2Config(
        vision_config={**TOWER, "image_size": 32, "patch_size": 8, "hidden_stride": 2, "vocab_size": 64},
        text_config=tf.Qwen2Config(**text_of(words)),
        image_token_id=words.convert_tokens_to_ids("<IMG_ATOM>"),
        visual_indicator_token_ids=words.convert_tokens_to_ids(atoms[1:]),
        vocab_size=len(words) + 8,
        hidden_size=32,
    )
    images = tf.Ovis2ImageProcessor(size=square(32), crop_to_patches=True, max_patches=4)
    processor = tf.Ovis2Processor(images, words, image_seq_length=4, chat_template=chat("<image>"))
    return tf.Ovis2ForConditionalGeneration(config), processor


def minicpmv4_6() -> tuple[Any, Any]:
    words = tokenizer(
        image_token="<image_pad>",
        video_token="<video_pad>",
        image_start_token="<image>",
        image_end_token="</image>",
        slice_start_token="<slice>",
        slice_end_token="</slice>",
        image_id_start_token="<image_id>",
        image_id_end_token="</image_id>",
    )
    text = tf.Qwen3_5TextConfig(
        **text_of(
            words,
            head_dim=16,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            layer_types=["linear_attention", "full_attention"],
            rope_parameters=mrope(2, 1, 1, mrope_interleaved=True, partial_rotary_factor=0.5),
        )
    )
    config = tf.MiniCPMV4_6Config(
        text_config=text,
        vision_config={**TOWER, "image_size": 64, "patch_size": 8, "insert_layer_id": 0},
        insert_layer_id=0,
        image_size=64,
        image_token_id=words.image_token_id,
        video_token_id=words.video_token_id,
    )
    images = {"scale_resolution": 64, "patch_size": 8, "max_slice_nums": 4}
    processor = tf.MiniCPMV4_6Processor(
        tf.MiniCPMV4_6ImageProcessor(**images),
        tf.MiniCPMV4_6VideoProcessor(**images),
        words,
        chat_template=chat("<image_pad>"),
    )
    return tf.MiniCPMV4_6ForConditionalGeneration(config), processor

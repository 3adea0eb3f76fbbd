"""Mllama, Llama 4 and Chameleon."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.models.families.family import TOWER, chat, square, text_of, tokenizer


def mllama() -> tuple[Any, Any]:
    words = tokenizer("<|python_tag|>", image_token="<|image|>")
    config = tf.MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
            "max_num_tiles": 4,
            "intermediate_layers_indices": [0],
            "vision_output_dim": 64,
        },
        text_config=text_of(words, num_hidden_layers=3, cross_attention_layers=[1]),
        image_token_index=words.image_token_id,
    )
    config.text_config.vocab_size = len(words)
    images = tf.MllamaImageProcessor(size=square(32), max_image_tiles=4)
    processor = tf.MllamaProcessor(images, words, chat_template=chat("<|image|>"))
    return tf.MllamaForConditionalGeneration(config), processor


def llama4() -> tuple[Any, Any]:
    tokens = ["<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>", "<|tile_x_separator|>"]
    words = tokenizer(*tokens, "<|tile_y_separator|>")
    config = tf.Llama4Config(
        vision_config={
            **TOWER,
            "intermediate_size": 128,
            "image_size": 32,
            "patch_size": 8,
            "pixel_shuffle_ratio": 0.5,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        text_config=text_of(words, head_dim=8, intermediate_size_mlp=48, num_local_experts=2),
        image_token_index=words.convert_tokens_to_ids("<|patch|>"),
        boi_token_index=words.convert_tokens_to_ids("<|image_start|>"),
        eoi_token_index=words.convert_tokens_to_ids("<|image_end|>"),
    )
    images = tf.Llama4ImageProcessor(size=square(32), max_patches=4)
    processor = tf.Llama4Processor(images, words, patch_size=8, chat_template=chat("<|image|>"))
    return tf.Llama4ForConditionalGeneration(config), processor


def chameleon() -> tuple[Any, Any]:
    marks = {"image_token": "<image>", "boi_token": "<racm3:break>", "eoi_token": "<eoss>"}
    names = [f"IMGIMG{''.join('ABCDEFGHIJ'[int(digit)] for digit in str(n))}Z" for n in range(16)]
    words = tokenizer(*names, **marks)
    text = text_of(words)
    config = tf.ChameleonConfig(
        **text,
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 16,
            "latent_channels": 8,
            "resolution": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1],
            "num_res_blocks": 1,
        },
        vocabulary_map=words.get_vocab(),
    )
    images = tf.ChameleonImageProcessor(size={"shortest_edge": 32}, crop_size=square(32))
    processor = tf.ChameleonProcessor(images, words, image_seq_length=64)
    processor.chat_template = chat("<image>")
    return tf.ChameleonForConditionalGeneration(config), processor

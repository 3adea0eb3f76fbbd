"""A Qwen2-VL of about two million parameters: a real architecture at a size that trains on two cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import (
    GenerationConfig,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from medrobust_bench.train.tokenizer import CHAT_TEMPLATE, IMAGE, VIDEO, VISION_END, VISION_START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel

MERGE = 2

WHITENING_FLOOR = 0.01
"""Variance (of pixels in [-1, 1]) below which a pattern of a patch counts as noise and is not amplified further."""


class TinyArchitecture(BaseModel):
    """Sizes of a tiny Qwen2-VL.

    Attributes:
        image_side: images are brought to about this many pixels squared; one of exactly this size is not resized.
        patch: side of a patch in pixels; 2 by 2 patches make one image token.
        vocabulary: largest number of tokens that the tokenizer may learn.
        initializer_range: standard deviation of new weights; about one over the square root of the width, without
            which a model this narrow sits on a plateau for hundreds of steps.
        rope_theta: base of the rotary frequencies; small, because a head has only a few frequencies and a prompt
            only a hundred tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_side: int = Field(default=64, ge=16)
    patch: int = Field(default=8, ge=2)
    vision_layers: int = Field(default=4, ge=1)
    vision_width: int = Field(default=96, ge=16)
    vision_heads: int = Field(default=3, ge=1)
    text_layers: int = Field(default=5, ge=1)
    text_width: int = Field(default=128, ge=16)
    text_heads: int = Field(default=4, ge=1)
    text_feed_forward: int = Field(default=384, ge=16)
    vocabulary: int = Field(default=1024, ge=300)
    initializer_range: float = Field(default=0.08, gt=0)
    rope_theta: float = Field(default=100.0, gt=1)


def build_processor(architecture: TinyArchitecture, tokenizer: PreTrainedTokenizerFast) -> Qwen2VLProcessor:
    """Qwen2-VL's processor for small images."""
    area = architecture.image_side**2
    vision = {
        "patch_size": architecture.patch,
        "merge_size": MERGE,
        "size": {"shortest_edge": area, "longest_edge": area},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**vision),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**vision),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(
    architecture: TinyArchitecture, tokenizer: PreTrainedTokenizerFast
) -> Qwen2VLForConditionalGeneration:
    """A randomly initialised model (torch's global generator), float32, greedy by default."""
    rotary = architecture.text_width // architecture.text_heads // 2
    temporal = rotary // 4
    spatial = (rotary - temporal) // 2
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": architecture.text_width,
            "intermediate_size": architecture.text_feed_forward,
            "num_hidden_layers": architecture.text_layers,
            "num_attention_heads": architecture.text_heads,
            "num_key_value_heads": architecture.text_heads,
            "max_position_embeddings": 2048,
            "initializer_range": architecture.initializer_range,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": architecture.rope_theta,
                "mrope_section": [rotary - 2 * spatial, spatial, spatial],
            },
            **ends,
        },
        vision_config={
            "depth": architecture.vision_layers,
            "embed_dim": architecture.vision_width,
            "num_heads": architecture.vision_heads,
            "hidden_size": architecture.text_width,
            "mlp_ratio": 4,
            "patch_size": architecture.patch,
            "spatial_merge_size": MERGE,
            "initializer_range": architecture.initializer_range,
        },
        initializer_range=architecture.initializer_range,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
        vision_start_token_id=tokenizer.convert_tokens_to_ids(VISION_START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(VISION_END),
        tie_word_embeddings=True,
        **ends,
    )
    model = Qwen2VLForConditionalGeneration(config)
    initialise_previous_token_heads(model.model.language_model)
    initialise_induction_heads(model.model.language_model)
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=128, **ends)
    return model


@torch.no_grad()
def initialise_previous_token_heads(language_model: Qwen2VLTextModel, *, strength: float = 4.0) -> None:
    """Let head h of the first layer begin by attending h + 1 tokens back, through its query and key biases.

    With rotary positions a head sees distance only through components that all queries and all keys share. New
    weights have none, and biases that are both zero give each other no gradient; so a small model takes very long to
    tell an option the letter before it. A shared component gives the score Σ_i s² cos(ω_i (d - h - 1)) / √D at
    distance d, which is largest at d = h + 1.

    Args:
        language_model: is changed in place; as many key as query heads.
        strength: s, the length of each rotary pair of the biases.
    """
    frequencies = language_model.rotary_emb.inv_freq
    attention = language_model.layers[0].self_attn
    heads = language_model.config.num_attention_heads
    keys = attention.k_proj.bias.view(heads, 2, len(frequencies))
    queries = attention.q_proj.bias.view(heads, 2, len(frequencies))
    for head in range(heads):
        keys[head, 0] = strength
        queries[head, 0] = strength * torch.cos(frequencies * (head + 1))
        queries[head, 1] = -strength * torch.sin(frequencies * (head + 1))


@torch.no_grad()
def initialise_induction_heads(language_model: Qwen2VLTextModel, *, residual: float = 0.15) -> None:
    """Let the heads after the first layer begin with a preference for tokens like their own.

    Keys start as the queries, so that a token scores higher with its equals than with others; and every layer starts by
    adding little to the residual stream, in which equal tokens would otherwise no longer be alike after the first
    layer. Together with `initialise_previous_token_heads` this is an induction head (Olsson et al. 2022,
    arXiv:2209.11895), which is what naming an option's letter takes: find the option in the prompt, read what stood
    before it.

    Args:
        language_model: is changed in place; as many key as query heads.
        residual: factor on the output projections of attention and feed-forward.
    """
    for number, layer in enumerate(language_model.layers):
        layer.self_attn.o_proj.weight *= residual
        layer.mlp.down_proj.weight *= residual
        if number > 0:
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


@torch.no_grad()
def whiten_patches(
    model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor, images: Sequence[Image.Image]
) -> None:
    """Let the patch embedding begin with filters that answer to every pattern of the images equally strongly.

    Brightness varies a thousand times more between patches than fine structure does, and is all that random filters
    see: what only fine structure tells stays unlearnt for hundreds of steps. The filters become random combinations of
    the whitened patch, R (C + ε)^(-1/2), scaled to answers of mean variance one (Page 2019, "How to train your ResNet
    8: bag of tricks"; Jordan 2024, arXiv:2404.00498, section 3.2).

    Args:
        model: is changed in place.
        processor: its processor.
        images: of the training questions; a few hundred do.
    """
    convolution = model.model.visual.patch_embed.proj
    patches = processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"].double()
    variances, patterns = torch.linalg.eigh(torch.cov(patches.T))
    whitening = patterns / (variances.clamp_min(0) + WHITENING_FLOOR).sqrt() @ patterns.T
    filters = torch.randn(len(convolution.weight), len(whitening), dtype=whitening.dtype) @ whitening
    filters /= (patches @ filters.T).std()
    convolution.weight.copy_(filters.view_as(convolution.weight))

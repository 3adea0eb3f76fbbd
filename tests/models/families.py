"""Tiny models of real architectures: their own configurations, processors and image processors, random weights.

Each builder returns a model and its processor. The vocabulary is a byte-level BPE of a few hundred tokens with the
special tokens that the family's processor expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers as tf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode, prompt_text

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
    texts = [prompt_text(question, mode) for question in synthetic_questions() for mode in AnswerMode]
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


QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


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


def clip_tower(**more: Any) -> tf.CLIPVisionConfig:
    return tf.CLIPVisionConfig(**TOWER, image_size=64, patch_size=16, **more)


def siglip_tower(**more: Any) -> tf.SiglipVisionConfig:
    return tf.SiglipVisionConfig(**TOWER, image_size=64, patch_size=16, vision_use_head=False, **more)


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


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


IDEFICS3_TOKENS = (
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)


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


FAMILIES = {
    "Qwen2-VL": Family(qwen2_vl, native=(64, 80)),
    "Qwen2.5-VL": Family(qwen2_5_vl, native=(64, 80)),
    "Qwen3-VL": Family(qwen3_vl, native=(64, 80)),
    "Qwen3.5": Family(qwen3_5, native=(64, 80)),
    "GLM-4V": Family(glm4v, native=(64, 80)),
    "LLaVA": Family(llava, native=(64, 80)),
    "LLaVA-NeXT": Family(llava_next, native=None),
    "LLaVA-OneVision": Family(llava_onevision, native=None),
    "Idefics2": Family(idefics2, native=(48, 64)),
    "Idefics3": Family(idefics3, native=None),
    "SmolVLM": Family(smolvlm, native=None),
    "Gemma 3": Family(gemma3, native=(64, 64)),
    "Gemma 4": Family(gemma4, native=(64, 64)),
    "InternVL": Family(internvl, native=(32, 32)),
    "Aya Vision": Family(aya_vision, native=(64, 64)),
    "PaliGemma": Family(paligemma, native=(64, 64)),
    "Mllama": Family(mllama, native=(32, 64)),
    "Llama 4": Family(llama4, native=(32, 32)),
    "Mistral 3": Family(mistral3, native=(48, 64)),
    "LFM2-VL": Family(lfm2_vl, native=(64, 64)),
    "Ovis2": Family(ovis2, native=(32, 32)),
    "Cohere2 Vision": Family(cohere2_vision, native=(32, 32)),
    "MiniCPM-V 4.6": Family(minicpmv4_6, native=(64, 64)),
    "DeepSeek-VL": Family(deepseek_vl, native=(64, 64)),
    "BLIP-2": Family(blip_2, native=(64, 64)),
    "InstructBLIP": Family(instructblip, native=(64, 64), batchable=False),
    "Chameleon": Family(chameleon, native=(32, 32), differentiable=False),
}

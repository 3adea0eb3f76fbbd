"""The tiny Qwen2-VL: loadable by the Auto classes, small, and blind to nothing in a 64-pixel image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.train.architecture import (
    TinyArchitecture,
    build_model,
    build_processor,
    whiten_patches,
)
from tests.train.conftest import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast


def test_default_size_fits_eight_megabytes(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_model(TinyArchitecture(), tokenizer)
    without_words = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    with_all_words = without_words + TinyArchitecture().vocabulary * TinyArchitecture().text_width
    assert 1.5e6 < with_all_words < 2e6
    assert with_all_words * 4 < 8e6 - 3e5  # room for the tokenizer


def test_a_64_pixel_image_reaches_the_model_untouched(tokenizer: PreTrainedTokenizerFast) -> None:
    processor = build_processor(SMALL, tokenizer)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patches = processor.image_processor(images=[Image.fromarray(pixels)], return_tensors="pt")
    assert patches["image_grid_thw"].tolist() == [[1, 8, 8]]
    # 4 x 4 tokens of 2 x 2 patches of 8 x 8 pixels; each patch holds colours, the frame twice, rows, columns
    tokens = patches["pixel_values"].reshape(4, 4, 2, 2, 3, 2, 8, 8)
    for frame in (0, 1):
        seen = tokens[:, :, :, :, :, frame].permute(4, 0, 2, 5, 1, 3, 6).reshape(3, 64, 64)
        expected = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(seen, expected, atol=1e-6, rtol=0)


def test_other_sizes_are_brought_near_the_same_area(tokenizer: PreTrainedTokenizerFast) -> None:
    processor = build_processor(SMALL, tokenizer)
    image = Image.fromarray(np.zeros((300, 384, 3), dtype=np.uint8))
    patches = processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
    assert 32 <= len(patches) <= 64


def test_auto_classes_load_what_is_saved(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(SMALL, tokenizer)
    model.save_pretrained(tmp_path)
    build_processor(SMALL, tokenizer).save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert loaded.generation_config.do_sample is False
    assert loaded.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    assert loaded.generation_config.pad_token_id == processor.tokenizer.pad_token_id
    assert processor.tokenizer.padding_side == "left"


def test_heads_of_the_first_layer_begin_by_looking_back(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = build_model(TinyArchitecture(text_layers=1), tokenizer)
    model.set_attn_implementation("eager")
    tokens = torch.randint(len(tokenizer) - 50, (1, 40))
    weights = model.model.language_model(input_ids=tokens, output_attentions=True).attentions[0][0]
    for head, attention in enumerate(weights):
        at_lag = [attention.diagonal(-lag)[10:].mean().item() for lag in range(8)]
        assert at_lag.index(max(at_lag)) == head + 1
        assert at_lag[head + 1] > 0.5


def test_later_layers_begin_by_favouring_equal_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = build_model(TinyArchitecture(text_layers=2), tokenizer)
    model.set_attn_implementation("eager")
    torch.manual_seed(1)
    half = torch.randperm(len(tokenizer) - 50)[:20]
    weights = model.model.language_model(
        input_ids=torch.cat([half, half]).unsqueeze(0), output_attentions=True
    ).attentions[1][0]
    for attention in weights:  # every token of the second half stands 20 places after its equal
        equal = attention.diagonal(-20).mean()
        others = (attention[20:, :20].sum() - attention.diagonal(-20).sum()) / (20 * 19)
        assert equal > 1.2 * others


def test_whitened_filters_hear_a_faint_pattern_beside_brightness(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model, processor = build_model(SMALL, tokenizer), build_processor(SMALL, tokenizer)
    rng = np.random.default_rng(0)
    stripes = np.tile([1.0, -1.0], 32)
    images = []
    for _ in range(
        200
    ):  # every patch has a brightness of its own, every image its stripes of 10 grey levels or not
        bright = np.kron(rng.uniform(30, 220, (8, 8)), np.ones((8, 8)))
        grey = bright + 10 * rng.integers(0, 2) * stripes + rng.normal(0, 2, (64, 64))
        images.append(Image.fromarray(np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8)))

    def heard() -> float:
        """Energy of the answer to the stripes, relative to that to brightness of the same size."""
        filters = model.model.visual.patch_embed.proj.weight.flatten(1)
        pattern = torch.from_numpy(np.broadcast_to(stripes[:8], (3, 2, 8, 8)).copy()).float().flatten()
        return (((filters @ pattern) ** 2).sum() / (filters.sum(1) ** 2).sum()).item()

    before = heard()
    whiten_patches(model, processor, images)
    assert heard() > 50 * before
    pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    answers = pixels @ model.model.visual.patch_embed.proj.weight.flatten(1).T
    assert 0.9 < answers.std() < 1.1

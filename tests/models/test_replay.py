"""The 8-bit resize is imitated, and the processor's own image call is recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as images
from torchvision.transforms.v2.functional import InterpolationMode

from medrobust_bench.models.image_path import EightBitResize, ImageCall, ProcessorCallError, recording

SIDES = st.integers(5, 40)
MODES = st.sampled_from([InterpolationMode.BILINEAR, InterpolationMode.BICUBIC, InterpolationMode.LANCZOS])


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, mode=MODES, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_float_resize_lands_within_two_grey_levels_of_the_8_bit_one(
    height: int, width: int, new_height: int, new_width: int, mode: InterpolationMode, seed: int
) -> None:
    noise = torch.randint(0, 2, (3, height, width), generator=torch.Generator().manual_seed(seed)) * 255
    official = images.resize(noise.to(torch.uint8), [new_height, new_width], interpolation=mode)
    with EightBitResize():
        imitated = images.resize(noise.float(), [new_height, new_width], interpolation=mode)
    assert (imitated - official).abs().max() <= 2


def test_plain_float_resize_is_far_off_on_noise() -> None:
    noise = torch.randint(0, 2, (3, 32, 32), generator=torch.Generator().manual_seed(0)) * 255
    official = images.resize(noise.to(torch.uint8), [20, 24], interpolation=InterpolationMode.BICUBIC)
    plain = images.resize(noise.float(), [20, 24], interpolation=InterpolationMode.BICUBIC)
    assert (plain - official).abs().max() > 10


def test_gradient_is_that_of_the_resize_without_rounding() -> None:
    image = (torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0)) * 255).requires_grad_()
    weights = torch.rand(3, 9, 13, generator=torch.Generator().manual_seed(1))

    def gradient(*sizes: list[int]) -> torch.Tensor:
        resized = image
        for size in sizes:
            resized = images.resize(resized, size, interpolation=InterpolationMode.BICUBIC)
        return torch.autograd.grad((resized * weights).sum(), image)[0]

    with EightBitResize():
        imitated = gradient([9, 13])
    torch.testing.assert_close(imitated, gradient([16, 13], [9, 13]))


def test_same_size_and_8_bit_images_pass_untouched() -> None:
    image = torch.rand(3, 8, 8) * 255
    levels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    with EightBitResize():
        assert images.resize(image, [8, 8]) is image
        small = images.resize(levels, [4, 4])
    assert torch.equal(small, images.resize(levels, [4, 4]))


class Recorder:
    """An image processor that keeps what it was called with."""

    backend = "torchvision"
    resample = 3

    def __init__(self) -> None:
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def preprocess(self, pictures: Any, **settings: Any) -> dict[str, Any]:
        self.calls.append((pictures, settings))
        return {"pixel_values": pictures, "num_crops": 1}

    def __call__(self, pictures: Any, **settings: Any) -> dict[str, Any]:
        return self.preprocess(pictures, **settings)


@pytest.mark.parametrize("nested", [False, True])
def test_call_is_replayed_with_the_same_settings_and_nesting(nested: bool) -> None:
    image_processor = Recorder()
    with recording(image_processor) as the_call:
        image_processor([["picture"]] if nested else ["picture"], patch_size=7)
    call = the_call()
    assert call.outputs == ("pixel_values", "num_crops")
    pixels = torch.rand(2, 3, 4, 5, requires_grad=True)
    call.replay(image_processor, pixels)
    pictures, settings = image_processor.calls[-1]
    assert settings["patch_size"] == 7
    flat = [picture[0] for picture in pictures] if nested else pictures
    assert torch.equal(torch.stack(flat), pixels * 255)
    assert flat[0].requires_grad


@pytest.mark.parametrize("times", [0, 2])
def test_processor_must_call_its_image_processor_once(times: int) -> None:
    image_processor = Recorder()
    with recording(image_processor) as the_call:
        for _ in range(times):
            image_processor(["picture"])
    with pytest.raises(ProcessorCallError, match=f"{times} times"):
        the_call()


def test_recording_leaves_the_image_processor_as_it_was() -> None:
    image_processor = Recorder()
    with pytest.raises(KeyError), recording(image_processor):
        raise KeyError
    assert "preprocess" not in vars(image_processor)


def test_image_processor_without_tensors_gets_8_bit_images() -> None:
    image_processor = Recorder()
    image_processor.backend = "pil"
    call = ImageCall(args=(), kwargs={}, nested=False, outputs=("pixel_values",))
    call.replay(image_processor, torch.full((1, 3, 2, 2), 100.4 / 255, requires_grad=True))
    (picture,), _ = image_processor.calls[-1]
    assert picture.getpixel((0, 0)) == (100, 100, 100)

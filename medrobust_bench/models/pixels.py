"""Between 8-bit images and what a model is differentiated in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVELS = 255
"""Grey levels above black: an 8-bit value v is the pixel v/255."""


def to_pixels(images: Sequence[NDArray[np.uint8]], device: torch.device | None = None) -> torch.Tensor:
    """[B, 3, H, W] float32, multiples of 1/255, of B uint8 images [H, W, 3] of one shape."""
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float().contiguous() / LEVELS


def to_images(pixels: torch.Tensor) -> list[NDArray[np.uint8]]:
    """The nearest 8-bit images, B arrays uint8 [H, W, 3], of pixels [B, 3, H, W]; values outside [0, 1] are cut off."""
    levels = (pixels.detach().clamp(0, 1) * LEVELS).round().permute(0, 2, 3, 1).byte().cpu().numpy()
    return list(levels)

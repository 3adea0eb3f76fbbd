"""Patch embedding as the matrix product that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import torch


class PatchProjection(nn.Conv3d):
    """A 3-D convolution that takes one patch at a time as a matrix product.

    The Qwen-VL and GLM-V families cut the image into patches first and then convolve each with a kernel of the
    patch's own size. On a CPU the convolution's gradient in its input is slow out of proportion: a third of the
    backward pass of the shipped tiny models.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[N, C, T, H, W] → [N, D, 1, 1, 1] where the kernel covers the input, else the convolution."""
        if input.shape[2:] != self.kernel_size or any(self.padding) or self.groups != 1:
            return super().forward(input)
        product = nn.functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return product[..., None, None, None]


def project_patches(model: nn.Module) -> None:
    """Turn every plain 3-D convolution of a model into a `PatchProjection`, in place; weights stay as they are."""
    for module in model.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = PatchProjection

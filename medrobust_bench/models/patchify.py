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

    Args:
        convolution: whose weights these are.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        nn.Module.__init__(self)
        # Everything that a convolution is, its registered weights included; the other is not used any more.
        self.__dict__.update(convolution.__dict__)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[N, C, T, H, W] → [N, D, 1, 1, 1] where the kernel covers the input, else the convolution."""
        if input.shape[2:] != self.kernel_size or any(self.padding) or self.groups != 1:
            return super().forward(input)
        product = nn.functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return product[..., None, None, None]


def project_patches(model: nn.Module) -> None:
    """Put a `PatchProjection` in the place of every plain 3-D convolution in a model; weights stay as they are."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Conv3d:
                setattr(module, name, PatchProjection(child))

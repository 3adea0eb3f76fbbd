"""A patch embedding is a matrix product; any other convolution stays one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medrobust_bench.models.patchify import PatchProjection, project_patches

KERNEL = (2, 4, 4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [KERNEL, (2, 8, 12)], ids=["one patch", "several patches"])
def test_same_values_and_gradients_as_the_convolution(bias: bool, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(3, 5, kernel_size=KERNEL, stride=KERNEL, bias=bias).double()
    patches = torch.randn(7, 3, *size, dtype=torch.float64, requires_grad=True)
    expected = convolution(patches)
    weights = torch.randn_like(expected)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), patches)

    project_patches(convolution)
    assert isinstance(convolution, PatchProjection)
    projected = convolution(patches)
    torch.testing.assert_close(projected, expected)
    torch.testing.assert_close(
        torch.autograd.grad((projected * weights).sum(), patches)[0], expected_gradient
    )


@pytest.mark.parametrize("more", [{"padding": 1}, {"groups": 3}])
def test_other_convolutions_are_left_alone(more: dict[str, object]) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(3, 6, **{"kernel_size": KERNEL, "stride": KERNEL, **more})
    patches = torch.randn(2, 3, *KERNEL)
    expected = convolution(patches)
    project_patches(convolution)
    assert torch.equal(convolution(patches), expected)


def test_subclasses_and_weights_are_left_alone() -> None:
    class Special(nn.Conv3d):
        pass

    model = nn.Sequential(Special(1, 1, 1), nn.Conv3d(1, 1, 1))
    names = list(model.state_dict())
    project_patches(model)
    assert type(model[0]) is Special
    assert list(model.state_dict()) == names

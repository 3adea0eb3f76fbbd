"""A patch embedding is a matrix product; any other convolution stays one."""

from __future__ import annotations

from copy import deepcopy

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

    model = nn.Sequential(convolution)
    project_patches(model)
    assert isinstance(model[0], PatchProjection)
    projected = model(patches)
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
    model = nn.Sequential(convolution)
    project_patches(model)
    assert torch.equal(model(patches), expected)


def test_subclasses_and_weights_are_left_alone() -> None:
    class Special(nn.Conv3d):
        pass

    model = nn.Sequential(Special(1, 1, 1), nn.Conv3d(1, 1, 1))
    before = model.state_dict()
    project_patches(model)
    assert type(model[0]) is Special
    assert type(deepcopy(model)[1]) is PatchProjection
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(after[name] is not None and torch.equal(after[name], before[name]) for name in before)

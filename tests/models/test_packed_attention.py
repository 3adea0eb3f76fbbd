"""Sequences of one length are attended to together; what comes out is what each would get by itself."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from medrobust_bench.models.packed_attention import NAME, pack_attention, packed_attention
from tests.models.families import FAMILIES
from tests.models.qwen2_vl import load

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from medrobust_bench.data.question import Question

PACKING = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "GLM-4V")


class Operations(TorchDispatchMode):
    """Counts calls of PyTorch's attention, and numbers that the CPU asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = self.fetched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.attention += "scaled_dot_product" in str(func)
        self.fetched += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=8).filter(any),
    st.booleans(),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 99),
)
def test_every_sequence_sees_itself_alone(lengths: list[int], causal: bool, groups: int, seed: int) -> None:
    torch.manual_seed(seed)
    bounds = [0, *accumulate(lengths)]
    packed = [
        torch.randn(1, heads, bounds[-1], 4, dtype=torch.float64, requires_grad=True)
        for heads in (4, 4 // groups, 4 // groups)
    ]
    layer = nn.Identity()
    layer.num_key_value_groups = groups
    expected = torch.cat(
        [
            scaled_dot_product_attention(
                *(one[:, :, first:end] for one in packed), scale=0.3, is_causal=causal, enable_gqa=True
            )
            for first, end in pairwise(bounds)
            if end > first
        ],
        dim=2,
    ).transpose(1, 2)
    found, _ = packed_attention(
        layer, *packed, None, cu_seq_lens_q=torch.tensor(bounds), scaling=0.3, is_causal=causal
    )
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    for one in packed:
        gradients = [
            torch.autograd.grad((made * weights).sum(), one, retain_graph=True)[0]
            for made in (found, expected)
        ]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("family", PACKING)
def test_a_tower_scores_the_same_in_fewer_calls(
    tmp_path: Path, family: str, questions: list[Question]
) -> None:
    model = load(FAMILIES[family].save(tmp_path))
    layers = [
        one
        for one in model.model.modules()
        if getattr(getattr(one, "config", None), "_attn_implementation", "") == NAME
    ]
    assert layers
    bound = model.bind(questions)

    def measured() -> tuple[torch.Tensor, torch.Tensor, Operations]:
        pixels = bound.batch.pixels().requires_grad_()
        with Operations() as counted:
            scores = bound.scores(pixels)
        finite = scores[torch.isfinite(scores)]
        return scores.detach(), torch.autograd.grad(finite.sum(), pixels)[0], counted

    together = measured()
    for layer in layers:
        layer.config._attn_implementation = "sdpa"
    apart = measured()
    torch.testing.assert_close(together[0], apart[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], apart[1], rtol=1e-3, atol=1e-6)
    assert together[2].attention < apart[2].attention
    assert together[2].fetched <= apart[2].fetched


def test_the_configuration_that_is_saved_knows_nothing_of_it(tmp_path: Path) -> None:
    model = load(FAMILIES["Qwen2.5-VL"].save(tmp_path / "before")).model
    model.save_pretrained(tmp_path / "after")
    assert NAME not in (tmp_path / "after" / "config.json").read_text()
    assert model.config.vision_config._attn_implementation == "sdpa"


def test_other_attention_is_left_alone(tmp_path: Path) -> None:
    model = load(FAMILIES["LLaVA"].save(tmp_path)).model
    before = [getattr(module, "config", None) for module in model.modules()]
    pack_attention(model)
    assert all(
        getattr(module, "config", None) is config
        for module, config in zip(model.modules(), before, strict=True)
    )

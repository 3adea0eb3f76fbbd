"""Attention inside packed sequences of equal length in one call."""

from __future__ import annotations

import copy
import inspect
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from torch import nn

NAME = "flash_by_sdpa"
"""transformers gives the bounds of packed sequences to what has `flash` in its name, and calls all else for each."""


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool = False,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """What PyTorch's attention makes of every sequence by itself; those of one length go together.

    Args:
        module: the layer.
        query: [1, heads, tokens, width] of sequences one after the other.
        key: the same; of fewer heads, where several of the query's share one.
        value: as key.
        attention_mask: none; sequences see themselves alone.
        cu_seq_lens_q: their bounds, [sequences + 1] integers from 0 to the number of tokens.
        dropout: share of attention weights that are left out.
        scaling: of query times key.
        is_causal: whether a token sees only those before it in its sequence.
        more: what transformers passes on besides.

    Returns:
        [1, tokens, heads, width], and no weights.
    """
    assert attention_mask is None, "packed sequences have bounds in the place of a mask"
    packing = _packings.get(cu_seq_lens_q)
    if packing is None:
        packing = _packings[cu_seq_lens_q] = _Packing.of(cu_seq_lens_q)
    tensors = (query, key, value)
    attended = []
    for sequences, tokens in packing.groups:
        chosen = tensors if packing.order is None else [one[:, :, tokens] for one in tensors]
        query, key, value = (
            one.reshape(one.shape[1], sequences, -1, one.shape[3]).transpose(0, 1) for one in chosen
        )
        made, _ = sdpa_attention_forward(
            module, query, key, value, None, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
        attended.append(made.flatten(0, 1))
    if packing.order is None:
        return attended[0].unsqueeze(0), None
    return torch.cat(attended)[packing.order].unsqueeze(0), None


class _Packing(NamedTuple):
    """How sequences lie one after the other.

    Attributes:
        groups: for each length, how many sequences have it and which tokens are theirs.
        order: where every token is among those of all groups; None where there is one group.
    """

    groups: list[tuple[int, torch.Tensor]]
    order: torch.Tensor | None

    @classmethod
    def of(cls, bounds: torch.Tensor) -> _Packing:
        starts: dict[int, list[int]] = {}
        for first, end in pairwise(bounds.tolist()):
            if end > first:
                starts.setdefault(end - first, []).append(first)
        groups = [
            (len(firsts), (torch.tensor(firsts).unsqueeze(1) + torch.arange(length)).flatten())
            for length, firsts in starts.items()
        ]
        if len(groups) == 1:
            return cls(groups, None)
        order = torch.cat([tokens for _, tokens in groups]).argsort().to(bounds.device)
        return cls([(count, tokens.to(bounds.device)) for count, tokens in groups], order)


_packings: MutableMapping[torch.Tensor, _Packing] = WeakTensorKeyDictionary()
"""All layers of a tower are given the same tensor of bounds; it is fetched from the device once."""


def pack_attention(model: nn.Module) -> None:
    """Let every layer of a model that attends inside packed sequences do so in one call for those of one length.

    The vision towers of Qwen-VL, GLM-V and some thirty other families of transformers pack images, or windows of
    them, one after the other, and without the flash-attention package call PyTorch's attention once for each: of four
    images of 384 pixels, a Qwen2.5-VL makes 1,844 calls forward and as many backward. Weights, and the model's own
    configuration, stay as they are.
    """
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if (
            type(module).__name__.endswith("Attention")
            and getattr(config, "_attn_implementation", None) == "sdpa"
            and "cu_seqlens" in (parameters := inspect.signature(module.forward).parameters)
        ):
            own = copy.deepcopy(config)
            own._attn_implementation = NAME
            module.config = own
            if "max_seqlen" in parameters:
                module.register_forward_pre_hook(_without_longest, with_kwargs=True)


def _without_longest(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Names a length of the longest sequence, which every layer would fetch from the device, and nothing here reads."""
    return args, kwargs | {"max_seqlen": 0}


AttentionInterface.register(NAME, packed_attention)

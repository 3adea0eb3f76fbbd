"""The digest of a model's weights."""

from __future__ import annotations

import hashlib

import torch


def weights_sha256(state: dict[str, torch.Tensor]) -> str:
    """Hex SHA-256 over name, dtype, shape and bytes of every tensor, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()

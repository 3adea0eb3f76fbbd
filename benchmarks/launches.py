"""How many operations a gradient step asks a device for, whatever their size: what a GPU is kept waiting with.

    python -m benchmarks.launches

Of a model as deep as Qwen2.5-VL-3B, on images of 384 pixels, but narrow, so that the CPU can count: with PyTorch's
attention called for every window of every image, as transformers has it, and for windows of one size together
(`medrobust_bench.models.packed_attention`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import torch
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu import QWEN_3B, TINY, bind, build
from medrobust_bench.attacks.losses import CrossEntropy, loss_at
from medrobust_bench.models.packed_attention import NAME

if TYPE_CHECKING:
    from medrobust_bench.models.adapter import BoundQuestions

SHAPE = replace(
    TINY,
    text=TINY.text | {"num_hidden_layers": QWEN_3B.text["num_hidden_layers"]},
    vision=TINY.vision | {"depth": 32, "fullatt_block_indexes": [7, 15, 23, 31]},  # Qwen2.5-VL's own
    side=QWEN_3B.side,
)


class Operations(TorchDispatchMode):
    """Counts operations, and those of attention among them."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.attention = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.all += 1
        self.attention += "scaled_dot_product" in str(func)
        return func(*args, **(kwargs or {}))


def step(bound: BoundQuestions) -> Operations:
    """One gradient step of all questions."""
    pixels = bound.batch.pixels().requires_grad_()
    with Operations() as counted:
        value = loss_at(CrossEntropy(), bound, pixels, [""] * len(pixels)).value
        torch.autograd.grad(value.sum(), pixels)
    return counted


@click.command()
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 4, 16), show_default=True)
def main(batches: tuple[int, ...]) -> None:
    """Count, together and apart."""
    adapter = build(SHAPE, torch.device("cpu"))
    layers: list[Any] = [
        one
        for one in adapter.model.modules()
        if getattr(getattr(one, "config", None), "_attn_implementation", None) == NAME
    ]
    rows = []
    for batch in batches:
        bound = bind(adapter, SHAPE.side, batch)
        row: list[object] = [batch]
        for implementation in ("sdpa", NAME):
            for layer in layers:
                layer.config._attn_implementation = implementation
            counted = step(bound)
            row += [f"{counted.all:,}", f"{counted.attention:,}"]
        rows.append(row)
    headers = ("Images", "Window by window", "of attention", "Together", "of attention")
    click.echo(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, stralign="right"))


if __name__ == "__main__":
    main()

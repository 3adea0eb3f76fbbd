"""Dynamic sampling: more groups are rolled out than trained on, and those whose rewards differ are kept.

DAPO (Yu et al. 2025, arXiv:2503.14476, equation 11). A group whose rollouts all earn the same has advantages of 0 and
moves nothing, but its update costs as much as any other's. DAPO samples until a batch is full; here the number of
groups rolled out is fixed, so that every process makes as many passes as the others and a step's cost is known.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid


def kept_groups(alike: torch.Tensor, keep: int) -> torch.Tensor:
    """Which groups are trained on: the first whose rewards differ; if they are too few, the first of the others too.

    Args:
        alike: bool [G], whether all rollouts of a group earn the same.
        keep: how many.

    Returns:
        Their positions, ascending, int64 [keep].
    """
    return alike.long().argsort(stable=True)[:keep].sort().values


def only_groups(batch: dict[str, Any], groups: torch.Tensor, size: int) -> dict[str, Any]:
    """A scored generation batch of TRL, with some of its groups alone.

    Args:
        batch: as `GRPOTrainer._generate_and_score_completions` returns it.
        groups: positions of the groups that stay, int64 [K].
        size: rollouts of a group.
    """
    rows = (groups.unsqueeze(1) * size + torch.arange(size, device=groups.device)).flatten()

    def chosen(column: Any) -> Any:
        if isinstance(column, list):
            return [column[row] for row in rows.tolist()]
        return column if column is None or column.ndim == 0 else column[rows]

    split = split_pixel_values_by_grid(batch)
    kept: dict[str, Any] = unsplit_pixel_values_by_grid(
        {name: chosen(column) for name, column in split.items()}
    )
    return kept

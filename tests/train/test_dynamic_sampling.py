"""Dynamic sampling: which groups are trained on, and that they are what the loss sees, whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.train.dynamic_sampling import kept_groups, only_groups

ALIKE = torch.tensor([True, False, True, False, False])


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (4, [0, 1, 3, 4]), (5, [0, 1, 2, 3, 4])]
)
def test_groups_that_differ_come_before_the_others_in_the_order_of_their_draw(
    keep: int, kept: list[int]
) -> None:
    assert kept_groups(ALIKE, keep).tolist() == kept


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_no_group_is_kept_in_vain_where_one_that_differs_is_left(
    alike: list[bool], data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, len(alike)))
    kept = kept_groups(torch.tensor(alike), keep).tolist()
    assert kept == sorted(set(kept))
    assert sum(not alike[group] for group in kept) == min(keep, alike.count(False))
    assert len(kept) == keep


def test_groups_stay_whole_with_images_of_any_size() -> None:
    """Pixels of images of different sizes lie one after another, as Qwen's processor has them."""
    sizes = [1, 2, 3, 4, 5, 6]  # patches of the image of each of six rollouts, two a group
    owner = torch.repeat_interleave(torch.arange(6), torch.tensor(sizes))
    batch = {
        "completion_ids": torch.arange(6).unsqueeze(1),
        "advantages": torch.arange(6.0),
        "pixel_values": owner.unsqueeze(1).float(),
        "image_grid_thw": torch.tensor([[1, 1, size] for size in sizes]),
        "num_images": [1] * 6,
        "num_items_in_batch": torch.tensor(6),
        "ref_per_token_logps": None,
    }
    kept = only_groups(batch, torch.tensor([0, 2]), 2)
    rows = [0, 1, 4, 5]
    assert kept["completion_ids"].flatten().tolist() == kept["advantages"].tolist() == rows
    assert kept["image_grid_thw"][:, 2].tolist() == [sizes[row] for row in rows]
    assert kept["pixel_values"].flatten().tolist() == [row for row in rows for _ in range(sizes[row])]
    assert kept["num_images"] == [1] * 4
    assert kept["ref_per_token_logps"] is None

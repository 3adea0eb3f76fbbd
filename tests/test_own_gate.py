"""The project's gate on itself: the shipped checkpoints against their committed baselines.

`make baseline` renews them, after a checkpoint was meant to change.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

import medrobust_bench

if TYPE_CHECKING:
    from medrobust_bench.pytest_plugin import MedrobustGate

BASELINES = Path(__file__).parent / "baseline"
CHECKPOINTS = Path(medrobust_bench.__file__).parent / "checkpoints"

pytestmark = pytest.mark.slow


def test_every_shipped_checkpoint_is_watched() -> None:
    assert {path.name for path in BASELINES.iterdir()} == {path.name for path in CHECKPOINTS.iterdir()}


@pytest.mark.parametrize("model", sorted(path.name for path in BASELINES.iterdir()))
def test_a_shipped_checkpoint_is_as_robust_as_it_was(medrobust_gate: MedrobustGate, model: str) -> None:
    medrobust_gate(model=model, baseline=BASELINES / model, fail_if_drop=0.02, limit=40)


def test_a_weakened_checkpoint_is_caught(medrobust_gate: MedrobustGate, tmp_path: Path) -> None:
    model = "tiny-sft-reasoning"
    checkpoint = shutil.copytree(CHECKPOINTS / model, tmp_path / "weakened")
    weights = load_file(checkpoint / "model.safetensors")
    noise = torch.Generator().manual_seed(0)
    for tensor in weights.values():
        if tensor.is_floating_point() and tensor.ndim > 1:
            tensor += 0.5 * tensor.std() * torch.randn(tensor.shape, generator=noise)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(pytest.fail.Exception, match="Regressed: "):
        medrobust_gate(model=str(checkpoint), baseline=BASELINES / model, fail_if_drop=0.02)

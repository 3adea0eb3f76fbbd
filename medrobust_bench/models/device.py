"""Which device "auto" means."""

from __future__ import annotations

import torch


def usual_device() -> str:
    """Where models run unless told otherwise: "cuda" where there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"

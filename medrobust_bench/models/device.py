"""Which device "auto" means."""

from __future__ import annotations


def usual_device() -> str:
    """Where models run unless told otherwise: "cuda" where there is one, else "cpu"."""
    import torch  # here, since who only reads a run has no use for it

    return "cuda" if torch.cuda.is_available() else "cpu"

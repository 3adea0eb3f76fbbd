"""Libraries that draw from global random states, made to draw from a question's own seed."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.specs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medrobust_bench.specs.seeds import Purpose


@contextmanager
def global_draws(seed: int, purpose: Purpose, index: int = 0) -> Iterator[None]:
    """Inside it, the global states of random, numpy and torch are seeded like `stream`; afterwards as before.

    For ART's attacks that draw from them.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    state = int(stream(seed, purpose, index).integers(2**32))
    random.seed(state)
    np.random.seed(state)
    torch.default_generator.manual_seed(state)  # torch.manual_seed would reseed the accelerators too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])

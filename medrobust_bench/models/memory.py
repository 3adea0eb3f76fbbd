"""Work in batches as large as memory allows."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_ON_THE_CPU = "can't allocate memory"
"""What PyTorch's CPU allocator says; it raises a plain RuntimeError."""


class MemoryLimit:
    """Halves a batch where memory runs out, and remembers the size that fitted.

    Attributes:
        rows: the most rows that are tried at once.
    """

    def __init__(self) -> None:
        self.rows = sys.maxsize

    def run(self, work: Callable[[Sequence[int]], Sequence[T]], rows: Sequence[int]) -> list[T]:
        """One result per row, in order.

        Args:
            work: what is to be done with some of the rows; must not depend on their company.
            rows: all of them.

        Raises:
            torch.OutOfMemoryError: a single row does not fit.
        """
        done: list[T] = []
        while len(done) < len(rows):
            part = rows[len(done) : len(done) + self.rows]
            try:
                done += work(part)
            except RuntimeError as error:
                if len(part) == 1 or not _out_of_memory(error):
                    raise
                self.rows = len(part) // 2
            else:
                continue
            # Only here is the exception gone, and with it the frames that hold what the failed try had allocated.
            gc.collect()
            torch.cuda.empty_cache()
        return done


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or _ON_THE_CPU in str(error)

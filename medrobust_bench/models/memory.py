"""Work in batches as large as memory allows."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_WORDS = (
    "can't allocate memory",  # PyTorch's allocator on the CPU
    "out of memory",  # MPS, and CUDA outside of PyTorch's allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What allocators say that raise a plain RuntimeError."""


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
                if len(part) == 1 or not is_out_of_memory(error):
                    raise
                self.rows = len(part) // 2
            else:
                continue
            # Only here is the exception gone, and with it the frames that hold what the failed try had allocated.
            release_memory()
        return done


def if_memory_allows(work: Callable[[], T]) -> T | None:
    """What work that cannot be done in parts gives; None where memory runs out, with what it held released."""
    try:
        return work()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return None


def release_memory() -> None:
    """Let go of what nothing refers to any more, cycles included: a model and its float32 twin know each other."""
    gc.collect()
    torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a device has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _WORDS)

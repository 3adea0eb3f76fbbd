"""Work that does not fit into memory is done in parts, and the size that fitted is remembered."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.models.memory import MemoryLimit

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fits:
    """Doubles rows, as long as they are few enough."""

    def __init__(self, most: int, error: type[Exception] | Exception = torch.OutOfMemoryError) -> None:
        self.most = most
        self.error = error
        self.sizes: list[int] = []

    def __call__(self, rows: Sequence[int]) -> list[int]:
        self.sizes.append(len(rows))
        if len(rows) > self.most:
            raise self.error
        return [2 * row for row in rows]


@given(st.integers(0, 40), st.integers(1, 40))
def test_every_row_is_done_once_and_in_order(rows: int, most: int) -> None:
    assert MemoryLimit().run(Fits(most), range(rows)) == [2 * row for row in range(rows)]


def test_the_size_that_fitted_is_remembered() -> None:
    limit, work = MemoryLimit(), Fits(3)
    limit.run(work, range(10))
    assert work.sizes == [10, 5, 2, 2, 2, 2, 2]
    del work.sizes[:]
    limit.run(work, range(4))
    assert work.sizes == [2, 2]


def test_a_single_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        MemoryLimit().run(Fits(0), range(4))


def test_the_cpu_runs_out_of_memory_in_its_own_words() -> None:
    words = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: …")
    assert MemoryLimit().run(Fits(1, words), range(3)) == [0, 2, 4]
    with pytest.raises(RuntimeError, match="shape"):
        MemoryLimit().run(Fits(1, RuntimeError("shape mismatch")), range(3))


def test_what_the_failed_try_held_is_freed_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work(rows: Sequence[int]) -> list[int]:
        assert all(reference() is None for reference in held), "halves were tried beside the whole"
        activations = torch.zeros(len(rows))
        held.append(weakref.ref(activations))
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return list(rows)

    assert MemoryLimit().run(work, range(4)) == [0, 1, 2, 3]

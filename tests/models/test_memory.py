"""Work that does not fit into memory is done in parts, and the size that fitted is remembered."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.attacks import universal_patch
from medrobust_bench.attacks.universal_patch import UniversalPatch
from medrobust_bench.data.phantoms.questions import open_phantoms
from medrobust_bench.data.source import sample
from medrobust_bench.models import memory
from medrobust_bench.models.bound import HuggingFaceQuestions
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.memory import MemoryLimit, if_memory_allows
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.threats import load_threat as open_threat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question


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
    with patch.object(memory, "release_memory") as released:  # a third of a second, each time
        assert MemoryLimit().run(Fits(most), range(rows)) == [2 * row for row in range(rows)]
    assert released.called == (rows > most)


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


def test_work_that_cannot_be_parted_is_given_up_and_what_it_held_is_freed() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work() -> int:
        copied = torch.zeros(4)
        held.append(weakref.ref(copied))
        raise torch.OutOfMemoryError

    assert if_memory_allows(work) is None
    assert held[0]() is None
    assert if_memory_allows(lambda: 7) == 7
    with pytest.raises(RuntimeError, match="shape"):
        if_memory_allows(lambda: torch.zeros(2).reshape(3))


@pytest.mark.parametrize(
    "words",
    ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "MPS backend out of memory (…)"],
)
def test_devices_run_out_of_memory_in_their_own_words(words: str) -> None:
    assert MemoryLimit().run(Fits(1, RuntimeError(words)), range(3)) == [0, 2, 4]


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return sample(open_phantoms(), 5).questions


def opened(dtype: str) -> HuggingFaceVLM:
    adapter = load_model(resolve("tiny-sft-letter"), device="cpu", dtype=dtype)
    assert isinstance(adapter, HuggingFaceVLM)
    return adapter


def test_options_are_scored_in_parts_where_all_do_not_fit(
    questions: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = opened("float32").bind(questions)
    pixels = bound.batch.pixels()
    with torch.no_grad():
        expected = bound.scores(pixels)
    whole, sizes = HuggingFaceQuestions._scores, []

    def small(self: HuggingFaceQuestions, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError
        return whole(self, pixels)

    monkeypatch.setattr(HuggingFaceQuestions, "_scores", small)
    with torch.no_grad():
        torch.testing.assert_close(bound.scores(pixels), expected, rtol=1e-4, atol=1e-4)
    assert sizes == [5, 2, 2, 1]


def test_without_memory_for_the_float32_twin_the_run_goes_on_and_says_so(
    questions: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = opened("bfloat16")

    def full(model: object) -> object:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(adapter.model), "float", full)
    chunk = Chunk(adapter, "m", questions[:2], seed=0)
    with pytest.warns(UserWarning, match="no memory for its weights in float32"):
        outcomes, _ = chunk.attack(open_threat("pgd-linf:steps=1,eps=1/255000"), chunk.clean())
    assert len(outcomes) == 2
    assert adapter.upcast() is None


def test_the_float32_attack_can_be_turned_off(
    questions: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HuggingFaceVLM, "upcast", lambda self: pytest.fail("was made"))
    chunk = Chunk(opened("bfloat16"), "m", questions[:2], seed=0, float32_attack=False)
    clean = chunk.clean()
    assert any(outcome.correct for outcome in clean)
    chunk.attack(open_threat("pgd-linf:steps=1,eps=1/255000"), clean)


def test_a_universal_patch_is_the_same_where_it_is_trained_in_parts(
    questions: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, threat = opened("float32"), open_threat("patch-universal:epochs=2")
    assert isinstance(threat, UniversalPatch)
    expected = threat.train(adapter, questions, seed=0).content
    loss_at, sizes = universal_patch.loss_at, []

    def small(loss: Any, bound: Any, pixels: torch.Tensor, completions: Sequence[str]) -> Any:
        sizes.append(len(completions))
        if len(completions) > 2:
            raise torch.OutOfMemoryError
        return loss_at(loss, bound, pixels, completions)

    monkeypatch.setattr(universal_patch, "loss_at", small)
    content = threat.train(adapter, questions, seed=0).content
    assert max(sizes) > 2
    assert min(sizes) <= 2
    assert content is not None
    assert expected is not None
    np.testing.assert_allclose(content, expected, atol=1e-3)

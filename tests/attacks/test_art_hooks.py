"""A toolbox that has changed where we step into it is refused before any work, with one error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from art.attacks.evasion import AdversarialPatchPyTorch, auto_projected_gradient_descent
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
    ProjectedGradientDescentPyTorch,
)

from medrobust_bench.attacks.art_hooks import check_art
from medrobust_bench.problems import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _checked_anew() -> Iterator[None]:
    check_art.cache_clear()
    yield
    check_art.cache_clear()


def test_the_installed_toolbox_is_known() -> None:
    check_art()


def test_everything_that_is_missing_is_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ProjectedGradientDescentPyTorch, "_compute_pytorch")
    monkeypatch.setattr(AdversarialPatchPyTorch, "_loss", lambda self, patched: None)
    monkeypatch.delattr(auto_projected_gradient_descent, "random_sphere")
    with pytest.raises(InvalidInputError) as caught:
        check_art()
    (problem,) = caught.value.problems
    for name in ("_compute_pytorch", "AdversarialPatchPyTorch._loss", "random_sphere"):
        assert name in problem.what
    assert "pip install" in problem.remedy


def test_an_optimiser_under_another_name_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in list(vars(AdversarialPatchPyTorch).items()):
        if hasattr(method, "__code__") and "_optimizer" in method.__code__.co_names:
            monkeypatch.delattr(AdversarialPatchPyTorch, name)
    with pytest.raises(InvalidInputError, match=r"AdversarialPatchPyTorch\._optimizer"):
        check_art()

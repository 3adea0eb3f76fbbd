"""Real architectures behave as the adapter's recipe promises, or are recognised as exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import transformers

from medrobust_bench.models.selftest import Verdict
from tests.models import conformance
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

FAST = {"Qwen2-VL", "PaliGemma"}

# The model's own forward pass reads `image_outputs`, which the output of its language model does not have.
BROKEN_IN_5_24_0 = pytest.mark.xfail(
    transformers.__version__ == "5.24.0", raises=AttributeError, strict=True, reason="transformers 5.24.0"
)
MARKS = {"Llama 4": [BROKEN_IN_5_24_0]}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[*MARKS.get(name, []), *([] if name in FAST else [pytest.mark.slow])])
        for name in FAMILIES
    ],
)
def test_family(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    row = conformance.measure(name, tmp_path)

    assert row.resized.passed, row.resized
    assert row.resized.check("replay").value <= 2.01, "resized: within the rounding of two 8-bit resizes"
    if family.native is not None:
        assert row.native_gap == 0, "not resized: exact"
    assert (row.resized.check("gradient").verdict is Verdict.PASSED) == family.differentiable
    if family.differentiable:
        assert row.slope < 0.02
    batch = row.resized.check("batch")
    assert (batch.verdict is Verdict.PASSED) == family.batchable
    assert (batch.value < 1e-4) == family.batchable
    assert row.resized.check("deterministic").value == 0
    assert row.resized.check("teacher forcing").value > 0


def test_document_lists_every_family() -> None:
    text = conformance.DOCUMENT.read_text()
    lines = text.split(conformance.BEGIN)[1].split(conformance.END)[0].strip().splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == list(FAMILIES)


def test_at_least_twenty_architectures() -> None:
    assert len(FAMILIES) >= 20

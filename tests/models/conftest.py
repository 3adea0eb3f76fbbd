"""A tiny checkpoint and its questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.models.probes import synthetic_questions
from tests.models.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["Qwen2-VL"].save(tmp_path_factory.mktemp("qwen2-vl"))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Two, three and four options; images that Qwen2-VL does not resize, so that both paths agree."""
    return synthetic_questions(64, 80)

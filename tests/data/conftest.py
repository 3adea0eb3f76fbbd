"""Small data sets on disk, and the real ones where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from PIL import Image

from medrobust_bench.data.split_files import read_split_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.data.rows import Reading

SHARED = Path(__file__).parents[3] / "shared"


def write_image(path: Path, shade: int = 0, image_format: str | None = None) -> None:
    """A flat 12 × 10 picture; another shade is another content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (shade % 256, shade // 256, 7)).save(path, image_format)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def omni_row(number: int, **changes: Any) -> dict[str, Any]:
    """A valid row of OmniMedVQA about `Images/Set/<number>.png`; a change to None removes the key."""
    row: dict[str, Any] = {
        "dataset": "Set",
        "question_id": f"Set_{number:04}",
        "question_type": "Modality Recognition",
        "question": "How was this image taken?",
        "gt_answer": "CT",
        "image_path": f"Images/Set/{number}.png",
        "option_A": "MRI",
        "option_B": "CT",
        "modality_type": "CT(Computed Tomography)",
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def spoilt(good: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    """Lists of rows in which some values are something else, some keys are missing, and some rows are no rows."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    odd = (
        scalars
        | st.lists(scalars, max_size=2)
        | st.sampled_from(["A)", " A)x, B)y", "<answer> B </answer>", "\ud800"])
    )
    changes = st.dictionaries(st.sampled_from(sorted(good)), odd, max_size=2)
    rows = changes.map(lambda changed: {**good, **changed})
    missing = st.sampled_from(sorted(good)).map(lambda key: {k: v for k, v in good.items() if k != key})
    return st.lists(rows | missing | scalars, min_size=1, max_size=6)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an OmniMedVQA tree of the given rows, with an image for every path that can have one."""

    def make(*rows: Any, access: str = "Open-access", images: bool = True, folder: str = "tree") -> Path:
        root = tmp_path / folder
        write_json(root / "QA_information" / access / "Set.json", list(rows))
        for row in rows:
            name = row.get("image_path") if isinstance(row, dict) else None
            if images and isinstance(name, str) and name.startswith("Images/") and ".." not in name:
                number = int(Path(name).stem) if Path(name).stem.isdigit() else 0
                write_image(root / name, number)
        return root

    return make


@pytest.fixture(scope="session")
def omnimedvqa() -> Path:
    """A real tree with OmniMedVQA's layout."""
    root = Path(os.environ.get("MEDROBUST_OMNIMEDVQA", SHARED / "omni_mini"))
    if not (root / "QA_information").is_dir():
        pytest.skip("no OmniMedVQA tree: set MEDROBUST_OMNIMEDVQA or put it at ../shared/omni_mini")
    return root


@pytest.fixture(scope="session")
def published_splits() -> Path:
    """The published per-modality split files."""
    root = SHARED / "med_r1_splits"
    if not root.is_dir():
        pytest.skip("no published split files at ../shared/med_r1_splits")
    return root


@pytest.fixture(scope="session")
def published_reading(published_splits: Path) -> Reading:
    """All rows of the published split files."""
    return read_split_files(published_splits, base=None)

"""The documentation names every kind, and its example is one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.registry import OWN

PAGE = (Path(__file__).parents[3] / "docs" / "corruptions.md").read_text()


def test_every_kind_is_described_as_it_is() -> None:
    for corruption in OWN:
        assert f"| `{corruption.kind}` | {corruption.summary} |" in PAGE


def test_every_kind_is_held_against_other_benchmarks() -> None:
    table = PAGE.partition("## Beside other benchmarks")[2].partition("## Every kind")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [corruption.kind for corruption in OWN]


def test_the_sheets_are_there() -> None:
    for name in re.findall(r"\]\((corruptions/[\w-]+\.png)\)", PAGE):
        assert (Path(__file__).parents[3] / "docs" / name).is_file()


def test_the_example_runs() -> None:
    (code,) = re.findall(r'```python title="my_package/faults.py"\n(.*?)```', PAGE, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    fault = namespace["INVERTED"]
    assert isinstance(fault, Corruption)
    image = np.full((8, 8, 3), 40, dtype=np.uint8)
    assert fault(image, 1.0, np.random.default_rng(0)).max() == 215

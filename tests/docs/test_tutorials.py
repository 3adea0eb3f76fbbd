"""What the tutorials show works: their files, as packages outside the project, give the output that they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r'^```\w+ title="(?P<title>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> dict[str, str]:
    """The titled blocks of a page: files by name, and "output"."""
    return {match["title"]: match["text"] for match in BLOCK.finditer(page.read_text())}


def install(project: str, site: Path) -> None:
    """Leave beside the modules what an installer would: the package's name, version and entry points."""
    described = tomllib.loads(project)["project"]
    info = site / f"{described['name']}-{described['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 1.0\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in described["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


def run(code: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def tutorial(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder in which a tutorial's package is installed, and the tutorial's blocks."""
    files = blocks(request.param)
    (tmp_path / "site").mkdir()
    for name, text in files.items():
        if name.endswith(".py") and name != "try_it.py":
            (tmp_path / "site" / name).write_text(text)
    if "pyproject.toml" in files:
        install(files["pyproject.toml"], tmp_path / "site")
    (tmp_path / "try_it.py").write_text(files["try_it.py"])
    return tmp_path, files


def test_a_tutorial_works_as_it_is_written(tutorial: tuple[Path, dict[str, str]]) -> None:
    folder, files = tutorial
    done = run(["try_it.py"], folder)
    assert done.returncode == 0, done.stderr
    if "output" in files:
        assert done.stdout == files["output"]
    for command in _commands(files):
        done = run(["-m", "medrobust_bench", *command], folder)
        assert done.returncode == 0, done.stderr


def _commands(files: dict[str, str]) -> list[list[str]]:
    """What the command line knows once the tutorial's package is installed."""
    if "pyproject.toml" not in files:
        return []
    points = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    quick = ["run", "--model", "tiny-sft-letter", "--limit", "2", "--out", "runs/command"]
    asked = {
        "medrobust_bench.threats": lambda name: [*quick, "--threat", f"{name}:levels=16"],
        "medrobust_bench.metrics": lambda name: [*quick, "--threat", "noise:draws=1", "--metric", name],
        "medrobust_bench.data": lambda name: ["data", "check", f"our.{name}.tsv"],
    }
    return [asked[group](name) for group in points if group in asked for name in points[group]]

"""The wheel, installed elsewhere: every command that a submitter or a reviewer needs works without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    "medrobust_bench",
    "model_cards",
    "data_cards",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
)

pytestmark = pytest.mark.slow


def succeed(*words: str | Path, **settings: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, **settings
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone is installed, built from a copy of the sources."""
    root = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / "source" / name)
    pip = ("-m", "pip", "--disable-pip-version-check")
    succeed(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", root / "dist", root / "source")
    (wheel,) = (root / "dist").iterdir()
    succeed(*pip, "install", "--no-deps", "--target", root / "site-packages", wheel)
    return root / "site-packages"


def test_a_submitters_way_from_run_to_site(site_packages: Path, tmp_path: Path) -> None:
    settings = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(site_packages)}}
    where = succeed("-c", "import medrobust_bench; print(medrobust_bench.__file__)", **settings)
    assert Path(where.strip()).is_relative_to(site_packages)

    def medrobust(*words: str) -> str:
        return succeed("-m", "medrobust_bench", *words, **settings)

    assert "tiny-sft-reasoning" in medrobust("models")
    assert "vqa-rad" in medrobust("data", "list")
    run = ("--model", "tiny-sft-reasoning", "--limit", "8", "--threat", "noise:draws=2")
    medrobust("run", *run, "--out", "run")
    assert "noise-draws-2/tiny-sft-reasoning.json" in medrobust("submit", "run")
    assert "tiny-sft-reasoning.json: accepted" in medrobust("verify", "leaderboards/submissions")
    assert "leaderboards/site/index.html" in medrobust("leaderboard", "build")
    assert "run/report/index.html" in medrobust("report", "run")
    assert "Passed: " in medrobust("compare", "run", "run", "--fail-if-drop", "0.02")
    for page in (
        "leaderboards/phantoms/noise-draws-2.md",
        "leaderboards/site/models/tiny-sft-reasoning.html",
        "run/report/index.html",
    ):
        assert "tiny-sft-reasoning" in (tmp_path / page).read_text()

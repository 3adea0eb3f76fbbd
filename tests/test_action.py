"""The GitHub action: its scripts as a runner would run them, with `gh` played by a script that notes its arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]

GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$RUNNER_TEMP/calls"
case "$*" in
  *--paginate*) printf %s "$KNOWN_COMMENT" ;;
  *) exit "$GH_CODE" ;;
esac
"""


def steps() -> dict[str, dict[str, Any]]:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    return {step.get("name", ""): step for step in action["runs"]["steps"]}


@pytest.fixture
def run_step(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs a step's script with the given variables, in a runner's folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gh").write_text(GH)
    (programs / "medrobust").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medrobust_bench "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / "medrobust").mkdir()

    def run(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(tmp_path),
            "OUT": str(tmp_path / "medrobust"),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            "GITHUB_REPOSITORY": "owner/project",
            **variables,
        }
        script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps()[name]["run"]]
        return subprocess.run(script, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)

    return run


WORKFLOWS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("file", ["action.yml", *WORKFLOWS])
def test_nothing_is_interpolated_into_a_script(file: str) -> None:
    document = yaml.safe_load((ROOT / file).read_text())
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_the_gate_tells_the_job_and_fails_it(
    run_step: Callable[..., subprocess.CompletedProcess[str]],
    schooled_run: Path,
    weakened_run: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "medrobust" / "run").symlink_to(weakened_run)
    done = run_step("Compare", BASELINE=str(schooled_run), DROP="0.02", ALPHA="0.05", STRICT="false")
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "summary.md").read_text().startswith("**Regressed")
    (name, _, path) = (tmp_path / "output").read_text().strip().partition("=")
    assert name == "json"
    assert json.loads(Path(path).read_text())["gate"]["passed"] is False


@pytest.mark.parametrize(
    ("known", "request_made"),
    [
        ("", "--method POST repos/owner/project/issues/7/comments"),
        ("42", "--method PATCH repos/owner/project/issues/comments/42"),
    ],
)
def test_one_comment_is_written_and_later_rewritten(
    run_step: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, known: str, request_made: str
) -> None:
    (tmp_path / "medrobust" / "comparison.md").write_text("**Passed**\n")
    hostile = "base --> $(touch hacked) `id`"
    done = run_step("Comment", BASELINE=hostile, PULL_REQUEST="7", KNOWN_COMMENT=known, GH_CODE="0")
    assert (done.returncode, done.stdout) == (0, "")
    search, write = (tmp_path / "calls").read_text().splitlines()
    assert "--paginate repos/owner/project/issues/7/comments" in search
    assert write.startswith(f"api {request_made} ")
    assert write.endswith(f"body=@{tmp_path}/medrobust/comment.md")
    mark, table = (tmp_path / "medrobust" / "comment.md").read_text().splitlines()
    assert mark.startswith("<!-- medrobust gate ")
    assert mark.count("-->") == 1
    assert table == "**Passed**"


def test_a_token_that_may_not_write_fails_nothing(
    run_step: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "medrobust" / "comparison.md").write_text("**Passed**\n")
    done = run_step("Comment", BASELINE="b", PULL_REQUEST="7", KNOWN_COMMENT="", GH_CODE="1")
    assert done.returncode == 0
    assert "::notice title=medrobust gate::" in done.stdout


def test_without_a_table_nothing_is_written(
    run_step: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert run_step("Comment", BASELINE="b", PULL_REQUEST="7").returncode == 0
    assert not (tmp_path / "calls").exists()


def test_a_job_may_hold_several_gates(
    run_step: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "bin" / "medrobust").write_text('#!/bin/sh\nfor last; do :; done\nmkdir "$last"\n')
    for _gate in range(2):
        done = run_step("Evaluate", MODEL="m", DATA="phantoms", LIMIT="8", THREATS="noise", ANSWER_MODE="")
        assert done.returncode == 0, done.stderr
    folders = [Path(line.removeprefix("out=")) for line in (tmp_path / "output").read_text().split()]
    assert len(set(folders)) == 2
    assert all((folder / "run").is_dir() for folder in folders)

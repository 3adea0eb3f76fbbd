"""Exit codes mean what they say, and no traceback reaches a user."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from medrobust_bench.cli import LazyGroup, main
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from pathlib import Path


def ended_with(error: BaseException) -> click.testing.Result:
    """What a command that raises this ends like."""

    class Group(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            @click.command()
            def command() -> None:
                raise error

            return command

    return CliRunner().invoke(Group(), ["anything"])


def test_an_unexpected_error_is_no_failed_check() -> None:
    done = ended_with(RuntimeError("something\nbroke"))
    assert done.exit_code == 3
    assert "unexpected error: RuntimeError: something" in done.stderr
    assert "Traceback" not in done.output
    (path,) = (word.rstrip(".") for word in done.stderr.split() if "medrobust-error-" in word)
    with open(path) as file:  # noqa: PTH123
        assert "RuntimeError: something" in file.read()
    os.unlink(path)  # noqa: PTH108


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "give a place that you may use"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
    ],
)
def test_a_disk_that_refuses_is_a_problem_with_a_remedy(number: int, remedy: str) -> None:
    done = ended_with(OSError(number, os.strerror(number), "runs/a/journal.jsonl"))
    assert done.exit_code == 2
    assert "runs/a/journal.jsonl" in done.stderr
    assert remedy in done.stderr


def test_other_errors_of_the_system_are_unexpected() -> None:
    assert ended_with(OSError(errno.EIO, "Input/output error")).exit_code == 3


def test_ctrl_c_is_no_failed_check() -> None:
    assert ended_with(KeyboardInterrupt()).exit_code == 130


def test_exits_of_a_command_stay_as_they_are() -> None:
    assert ended_with(click.exceptions.Exit(1)).exit_code == 1
    assert ended_with(click.UsageError("wrong")).exit_code == 2


def test_a_long_list_of_problems_is_cut_and_kept() -> None:
    done = ended_with(
        InvalidInputError([Problem("f.json", f"fault {n}", "mend it", row=n) for n in range(500)])
    )
    assert done.exit_code == 2
    assert "500 problems" in done.stderr
    assert done.stderr.count("→ mend it") == 20
    (path,) = (word for word in done.stderr.split() if "medrobust-problems-" in word)
    with open(path) as file:  # noqa: PTH123
        assert file.read().count("→ mend it") == 500
    os.unlink(path)  # noqa: PTH108


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_survives_an_encoding_that_lacks_its_letters(encoding: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medrobust_bench", "threats"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"pgd-linf" in done.stdout


def test_a_reader_that_goes_away_ends_quietly() -> None:
    done = subprocess.run(
        f"{sys.executable} -m medrobust_bench threats | head -n 1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert "Threat" in done.stdout


def test_the_main_command_is_such_a_group() -> None:
    assert isinstance(main, LazyGroup)

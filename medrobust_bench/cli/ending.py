"""How a command ends: its exit code and its last words.

0: fine. 1: a gate or a check failed. 2: bad input or usage, each fault with its remedy. 3: an unexpected error, with
the place of its traceback. 130 and 141, as shells count signals: stopped by Ctrl-C; nobody reads the output any more.
A CI job that reads 1 as "robustness regressed" can trust it.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from medrobust_bench.models.question_error import QuestionError
from medrobust_bench.problems import InvalidInputError, Problem, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BAD_INPUT = 2
UNEXPECTED = 3
INTERRUPTED = 130
NOBODY_READS = 141

SHOWN = 20
"""Problems that are printed; thousands of lines would push the first one off the screen."""

_QUESTION_REMEDY = (
    "see whether model and data are sound (`medrobust models check`, `medrobust data check`); half precision may "
    "overflow: try --dtype float32"
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def ending() -> Iterator[None]:
    """Inside it, whatever a command raises becomes its exit code and a message; no traceback reaches the user."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except InvalidInputError as error:
        _end_with_problems(error.problems)
    except QuestionError as error:
        _end_with_problems([Problem("the model", str(error), _QUESTION_REMEDY)])
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nStopped.", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it flushes
        raise click.exceptions.Exit(NOBODY_READS) from None
    except OSError as error:
        if (problem := problem_of(error)) is None:
            _end_unexpectedly(error)
        _end_with_problems([problem])
    except Exception as error:  # the outermost place: told apart from everything that a check may find
        _end_unexpectedly(error)


def problem_of(error: OSError) -> Problem | None:
    """What a failing disk means to the user; None for other errors of the operating system."""
    where = str(error.filename2 or error.filename or "output")
    kept = "a run loses nothing: go on with `medrobust run --resume --out DIR`"
    if error.errno in _FULL:
        return Problem(
            where, f"cannot be written: {error.strerror}", f"make room, or write elsewhere; {kept}"
        )
    if error.errno in _REFUSED:
        return Problem(where, f"cannot be written or read: {error.strerror}", "give a place that you may use")
    if error.errno == errno.ENAMETOOLONG:
        return Problem(where, "is too long a name for this disk", "choose a shorter name")
    return None


def speak_any_encoding() -> None:
    """Let no character end a command.

    What a terminal or log cannot show becomes a question mark; a file's name that is no UTF-8 is written as it is.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            utf_8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf_8 else "replace")


def _end_with_problems(problems: Sequence[Problem]) -> NoReturn:
    count = len(problems)
    click.secho(f"medrobust: {count} problem{'s' if count != 1 else ''} with the input", fg="red", err=True)
    for problem in problems[:SHOWN]:
        click.echo(f"  {problem}", err=True)
    if count > SHOWN:
        path = _written("problems", "\n".join(map(str, problems)) + "\n")
        click.echo(f"  … and {count - SHOWN} more{f'; all of them in {path}' if path else ''}", err=True)
    raise click.exceptions.Exit(BAD_INPUT)


def _end_unexpectedly(error: Exception) -> NoReturn:
    path = _written("error", "".join(traceback.format_exception(error)))
    said = printable(str(error).strip().split("\n")[0])
    click.secho(
        f"medrobust: unexpected error: {type(error).__name__}{f': {said}' if said else ''}",
        fg="red",
        err=True,
    )
    if path is None:
        traceback.print_exception(error)
    else:
        click.echo(
            f"  The traceback is in {path}. Please report it with the command; what is finished is kept.",
            err=True,
        )
    raise click.exceptions.Exit(UNEXPECTED)


def _written(what: str, text: str) -> str | None:
    """A new file outside the working directory, None where even that cannot be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix=f"medrobust-{what}-", suffix=".txt", delete=False
        ) as file:
            file.write(text)
    except OSError:
        return None
    return file.name

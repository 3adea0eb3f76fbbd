"""The tab-separated log that certification papers publish: read, and checked without counts or model.

Columns `idx label predict radius correct time`, as the code of Cohen et al. (2019) writes them; `predict` is −1
where the smoothed classifier abstains. The radius is usually rounded to three significant digits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice, pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.certify.fault import Declared, Fault, count_fault
from medrobust_bench.certify.ladder import Ladder, fitting_ladders
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("idx", "label", "predict", "radius", "correct")
ABSTAIN = -1
EVEN = 0.9
"""Share of the steps from one question to the next that are equal where a log is evenly spaced."""

NOTICED = 1.25
"""A radius that is larger by this factor should be noticed; else its rounding hides everything."""

RELATIVE_ROUNDING = 1e-6
"""Radii in full are computed by other libraries than ours, some of them in single precision."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of a log.

    Attributes:
        line: one-based line of the file.
        idx: the question.
        label: right answer.
        predict: certified answer; None: abstains.
        radius: as written, hence rounded.
        correct: as written.
    """

    line: int
    idx: int
    label: int
    predict: int | None
    radius: Decimal
    correct: bool


def read_log(path: Path) -> list[LogRow]:
    """Read a log.

    Raises:
        InvalidInputError: every line that is not of the format.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            [Problem(str(path), f"cannot be read: {error}", "give a text file")]
        ) from error
    header = lines[0].split("\t") if lines else []
    if tuple(header[: len(COLUMNS)]) != COLUMNS:
        what = f"does not start with the columns {' '.join(COLUMNS)}"
        remedy = "give a tab-separated log, a journal.jsonl, a result file or a run folder"
        raise InvalidInputError([Problem(str(path), what, remedy, row=1)])
    rows: list[LogRow] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            rows.append(_row(number, line.split("\t")))
        except (ValueError, InvalidOperation):
            remedy = "write whole numbers, a radius, and 0 or 1 for correct, between tabs"
            problems.append(Problem(str(path), f"{line!r} is no row of the log", remedy, row=number))
    if not rows and not problems:
        problems.append(Problem(str(path), "holds no rows", "give a log with at least one question"))
    if problems:
        raise InvalidInputError(problems)
    return rows


def check_log(rows: Sequence[LogRow], declared: Declared) -> list[Fault]:
    """Everything in a log that cannot come from Cohen's CERTIFY with the declared settings.

    Args:
        rows: at least one.
        declared: n, alpha and sigma must be given.

    Raises:
        ValueError: one of them is missing.
    """
    if declared.n is None or declared.alpha is None or declared.sigma is None:
        raise ValueError("a log carries no counts: n, alpha and sigma must be declared")
    ladder = Ladder(declared.n, declared.alpha, declared.sigma)
    return [
        *_row_faults(rows, declared),
        *_answer_faults(rows, selected=declared.n0 != 0, classes=declared.classes),
        *_radius_faults([row for row in rows if row.radius > 0 or _rounded_to_zero(row)], ladder),
    ]


def hidden_by_rounding(rows: Sequence[LogRow], declared: Declared) -> tuple[int, int]:
    """How many of the certified radii could be a quarter larger, rounded as they are, without being noticed.

    Args:
        rows: at least one.
        declared: n, alpha and sigma must be given.

    Returns:
        Radii that could, and certified radii altogether.
    """
    radii = [row.radius for row in rows if row.radius > 0]
    if not radii or declared.n is None or declared.alpha is None or declared.sigma is None:
        return 0, len(radii)
    ladder = Ladder(declared.n, declared.alpha, declared.sigma)
    values, tolerance = np.array([float(radius) for radius in radii]), np.array(rounding(radii))
    inflated = NOTICED * values
    # One between two rungs, as most numbers are: what its rounding hides is what counts.
    exact = ladder.holds(inflated, np.full(len(radii), 1e-12))
    hidden = ladder.holds(inflated, tolerance) & ~exact
    return int(hidden.sum()), len(radii)


def rounding(radii: Sequence[Decimal]) -> list[float]:
    """How far each written radius may be from the computed one.

    Logs are written with a fixed number of significant digits or of decimals, trailing zeros dropped; which of
    the two is not said, so the larger tolerance of both counts. Zero has no significant digits.
    """
    decimals = max(_decimals(radius) for radius in radii)
    digits = max(len(radius.normalize().as_tuple().digits) for radius in radii)
    return [
        max(0.5 * 10.0**-decimals, 0.5 * 10.0 ** (radius.adjusted() - digits + 1) if radius else 0.0)
        + float(radius) * RELATIVE_ROUNDING
        for radius in radii
    ]


def _rounded_to_zero(row: LogRow) -> bool:
    """Certified with radius 0, which only the rounding of a small radius can explain: abstentions have no answer."""
    return row.radius == 0 and row.predict is not None


def _row(line: int, cells: Sequence[str]) -> LogRow:
    idx, label, predict, radius, correct = cells[: len(COLUMNS)]
    value = Decimal(radius)
    if not isfinite(value) or correct.strip() not in ("0", "1"):
        raise ValueError(line)
    answer = int(predict)
    return LogRow(
        line, int(idx), int(label), None if answer == ABSTAIN else answer, value, correct.strip() == "1"
    )


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _row_faults(rows: Sequence[LogRow], declared: Declared) -> list[Fault]:
    counts = Counter(row.idx for row in rows)
    faults = count_fault(len(counts), declared.expect)
    if repeated := tuple(row.line for row in rows if counts[row.idx] > 1):
        faults.append(Fault("rows", "a question appears more than once", repeated))
    if declared.expect != len(counts):
        faults += _gap_faults(sorted(counts))
    return faults


def _gap_faults(indices: Sequence[int]) -> list[Fault]:
    """Questions left out of a log that is otherwise evenly spaced.

    A random subset, a split by hash or the questions of one kind are not evenly spaced, and gaps say nothing there.
    """
    steps = [later - earlier for earlier, later in pairwise(indices)]
    if len(steps) < 2:
        return []
    usual, often = Counter(steps).most_common(1)[0]
    gaps = [
        (earlier, step // usual - 1)
        for earlier, step in zip(indices, steps, strict=False)
        if step > usual and step % usual == 0
    ]
    left_out = sum(number for _earlier, number in gaps)
    even = often + len(gaps) == len(steps) and often >= EVEN * len(steps)
    if not gaps or not even or left_out > (1 - EVEN) * len(indices):
        return []
    missing = (earlier + usual * skipped for earlier, number in gaps for skipped in range(1, number + 1))
    first = list(islice(missing, 6))
    shown = ", ".join(map(str, first[:5])) + (", …" if len(first) > 5 else "")
    return [Fault("rows", f"every {usual}th question is there but not {shown}")]


def _answer_faults(rows: Sequence[LogRow], *, selected: bool, classes: int | None) -> list[Fault]:
    checks = {
        "label or predict is no class": [
            row.line for row in rows if row.label < 0 or (row.predict is not None and row.predict < 0)
        ],
        "correct is not what label and predict say": [
            row.line for row in rows if row.correct != (row.predict == row.label)
        ],
        "abstains (predict −1), yet has a radius": [
            row.line for row in rows if row.predict is None and row.radius != 0
        ],
        "the radius is negative": [row.line for row in rows if row.radius < 0],
    }
    if classes is not None:
        checks[f"label or predict is none of {classes} classes"] = [
            row.line for row in rows if max(row.label, row.predict or 0) >= classes
        ]
    if not selected:
        checks["n0 is 0, so nothing but the label can be certified, yet predict is another answer"] = [
            row.line for row in rows if row.predict not in (None, row.label)
        ]
    return [Fault("answers", what, tuple(lines)) for what, lines in checks.items() if lines]


def _radius_faults(rows: Sequence[LogRow], ladder: Ladder) -> list[Fault]:
    if not rows:
        return []
    radii = np.array([float(row.radius) for row in rows])
    tolerance = np.array(rounding([row.radius for row in rows]))
    off = ~ladder.holds(radii, tolerance)
    if not off.any():
        return []
    above = radii - tolerance > ladder.top
    faults = []
    if above.any():
        what = f"radius above σ·Φ⁻¹(α^(1/n)) = {ladder.top:.6g}, which even {ladder.n} of {ladder.n} draws do not reach"
        faults.append(Fault("limit", what, _lines(rows, above)))
    if (off & ~above).any():
        what = f"radius that no whole number of {ladder.n} draws gives at α = {ladder.alpha:g}, σ = {ladder.sigma:g}"
        faults.append(Fault("ladder", what, _lines(rows, off & ~above)))
    fitting = fitting_ladders(radii, tolerance, declared=ladder)
    meaning = (
        f"every radius would fit {' or '.join(fitting[:3])}" if fitting else "no usual setting fits them all"
    )
    faults.append(Fault("setting", meaning))
    return faults


def _lines(rows: Sequence[LogRow], chosen: Sequence[bool]) -> tuple[int, ...]:
    return tuple(row.line for row, flag in zip(rows, chosen, strict=True) if flag)

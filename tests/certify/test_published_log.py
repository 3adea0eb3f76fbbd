"""Logs of strangers: no honest one is accused, and every falsified one is found out."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from medrobust_bench.certify.certificate import certified_radius
from medrobust_bench.certify.fault import Declared
from medrobust_bench.certify.ladder import Ladder
from medrobust_bench.certify.published_log import check_log, hidden_by_rounding, read_log, rounding
from medrobust_bench.problems import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    WriteLog = Callable[..., Path]

DECLARED = Declared(n=1000, n0=100, alpha=0.001, sigma=0.25, expect=200)
WRITTEN = {"three digits": "{:.3}".format, "four decimals": "{:.4f}".format, "in full": repr}


def edit(path: Path, line: int, **cells: object) -> None:
    """Overwrite cells of a one-based line."""
    lines = path.read_text().splitlines()
    names = lines[0].split("\t")
    values = dict(zip(names, lines[line - 1].split("\t"), strict=True)) | {
        k: str(v) for k, v in cells.items()
    }
    lines[line - 1] = "\t".join(values.values())
    path.write_text("\n".join(lines) + "\n")


def certified_line(path: Path) -> int:
    """A line with a right answer whose radius lies well inside the ladder."""
    rows = read_log(path)
    return next(row.line for row in rows if row.correct and Decimal("0.2") < row.radius < Decimal("0.5"))


def found(path: Path, declared: Declared = DECLARED) -> dict[str, tuple[int, ...]]:
    return {fault.check: fault.rows for fault in check_log(read_log(path), declared)}


@given(
    n=st.sampled_from([10, 100, 1000, 10_000, 100_000]),
    alpha=st.sampled_from([0.05, 0.01, 0.001, 1e-4]),
    sigma=st.sampled_from([0.12, 0.25, 0.5, 1.0]),
    seed=st.integers(0, 1000),
    written=st.sampled_from(sorted(WRITTEN)),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_honest_log_is_accused(
    write_log: WriteLog, n: int, alpha: float, sigma: float, seed: int, written: str
) -> None:
    path = write_log(n=n, alpha=alpha, sigma=sigma, seed=seed, written=WRITTEN[written])
    assert check_log(read_log(path), Declared(n=n, alpha=alpha, sigma=sigma, expect=200)) == []


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_another_alpha_is_found_and_named(write_log: WriteLog, written: Callable[[float], str]) -> None:
    path = write_log(alpha=0.01, written=written)
    faults = check_log(read_log(path), DECLARED)
    assert {fault.check for fault in faults} >= {"limit", "setting"}
    assert "every radius would fit α = 0.01" in faults[-1].what


def test_an_alpha_that_nobody_uses_is_found_by_the_top_of_the_ladder(write_log: WriteLog) -> None:
    path = write_log(alpha=0.0345, written=repr)
    faults = check_log(read_log(path), DECLARED)
    assert "0.0345" in faults[-1].what


def test_another_number_of_draws_is_found_and_named(write_log: WriteLog) -> None:
    faults = check_log(read_log(write_log(n=10_000, written=repr)), DECLARED)
    assert "n = 10000" in faults[-1].what


def test_another_sigma_is_found(write_log: WriteLog) -> None:
    assert "limit" in found(write_log(sigma=0.5))


def test_shares_without_a_confidence_bound_are_found_and_named(write_log: WriteLog) -> None:
    def plain(agreeing: NDArray[np.int64]) -> NDArray[np.float64]:
        return 0.25 * np.maximum(0.0, norm.ppf(np.minimum(agreeing, 999) / 1000))

    path = write_log(radius=plain, written=repr)
    faults = check_log(read_log(path), DECLARED)
    assert "without a confidence bound" in faults[-1].what


@pytest.mark.parametrize("factor", [0.98, 1.03, 1.2])
def test_a_single_radius_between_two_rungs_is_found(write_log: WriteLog, factor: float) -> None:
    path = write_log(written="{:.6f}".format)
    line = certified_line(path)
    radius = float(read_log(path)[line - 2].radius)
    edit(path, line, radius=f"{radius * factor:.6f}")
    assert found(path)["ladder"] == (line,)


def test_a_single_radius_above_the_limit_is_found(write_log: WriteLog) -> None:
    path = write_log()
    line = certified_line(path)
    edit(path, line, radius="0.65")
    assert found(path)["limit"] == (line,)


def single_precision(radius: float) -> str:
    return repr(float(np.float32(radius)))


def test_a_log_in_single_precision_is_not_accused(write_log: WriteLog) -> None:
    assert found(write_log(written=single_precision)) == {}


def test_an_abstention_turned_into_a_right_answer_is_found(write_log: WriteLog) -> None:
    """It counts in no radius, but in the accuracy of the smoothed model."""
    path = write_log()
    line = next(row.line for row in read_log(path) if row.predict is None)
    label = read_log(path)[line - 2].label
    edit(path, line, predict=label, correct=1)
    assert found(path)["ladder"] == (line,)


@pytest.mark.parametrize("written", ["{:.3f}".format, "{:.3}".format])
def test_a_small_radius_rounded_to_zero_is_not_accused(
    tmp_path: Path, written: Callable[[float], str]
) -> None:
    n = 10_000
    counts = [k for k in range(5000, n) if 0 < certified_radius(k, n, alpha=0.001, sigma=0.25) < 4e-4]
    rows = [f"{row}\t1\t1\t{written(certified_radius(k, n, alpha=0.001, sigma=0.25))}\t1\t0"
            for row, k in enumerate([*counts, 6000, 7000])]  # fmt: skip
    assert counts
    path = tmp_path / "log.tsv"
    path.write_text("\n".join(["idx\tlabel\tpredict\tradius\tcorrect\ttime", *rows]) + "\n")
    assert found(path, Declared(n=n, alpha=0.001, sigma=0.25)) == {}


def test_an_absurd_index_does_not_exhaust_memory(write_log: WriteLog) -> None:
    path = write_log()
    edit(path, 201, idx=10**15)
    assert found(path, replace(DECLARED, expect=None)) == {}, "one question from elsewhere is no gap"
    assert "rows" in found(path, replace(DECLARED, expect=201))


SUBSETS = {
    "at random": lambda draw, n: np.sort(draw.choice(10 * n, n, replace=False)),
    "by hash": lambda draw, n: np.flatnonzero(draw.uniform(size=6 * n) < 0.25)[:n],
    "blocks of one kind": lambda draw, n: np.concatenate(
        [np.arange(25) + 100 * block for block in range(n // 25)]
    ),
    "two kinds, one after the other": lambda draw, n: np.concatenate(
        [np.arange(n // 2), 5 * n + np.arange(n // 2)]
    ),
}


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS.keys())
@pytest.mark.parametrize("seed", range(5))
def test_unevenly_spaced_indices_are_not_accused(
    write_log: WriteLog, subset: Callable[..., NDArray[np.int64]], seed: int
) -> None:
    path = write_log()
    lines = path.read_text().splitlines()
    indices = subset(np.random.default_rng(seed), len(lines) - 1)
    rows = [f"{index}\t{line.partition(chr(9))[2]}" for index, line in zip(indices, lines[1:], strict=True)]
    path.write_text("\n".join([lines[0], *rows]) + "\n")
    for expect in (None, 200):
        assert found(path, replace(DECLARED, expect=expect)) == {}


def test_rounding_that_hides_everything_is_said(write_log: WriteLog) -> None:
    coarse = read_log(write_log(written="{:.1f}".format))
    hidden, of = hidden_by_rounding(coarse, DECLARED)
    assert hidden > 0.7 * of
    low = [row for row in coarse if row.radius < Decimal("0.5")]
    hidden, of = hidden_by_rounding(low, DECLARED)
    assert hidden == of > 0, "those that a quarter more does not bring above what all draws reach"
    for written in (repr, "{:.4f}".format):
        assert hidden_by_rounding(read_log(write_log(written=written)), DECLARED)[0] < 0.2 * of


def test_classes_that_there_are_not_are_found(write_log: WriteLog) -> None:
    path = write_log()
    most = max(row.label for row in read_log(path))
    declared = replace(DECLARED, classes=most + 1)
    assert found(path, declared) == {}
    edit(path, certified_line(path), label=most + 1, predict=most + 1)
    assert "answers" in found(path, declared)


FALSIFIED = {
    "abstains but counts": ({"predict": -1}, "answers"),
    "wrong but counts": ({"label": 77}, "answers"),
    "right but does not count": ({"correct": 0}, "answers"),
    "negative radius": ({"radius": -0.3}, "answers"),
    "repeated question": ({"idx": 0}, "rows"),
    "impossible class": ({"label": -3, "predict": -3}, "answers"),
}


@pytest.mark.parametrize(("cells", "check"), FALSIFIED.values(), ids=FALSIFIED.keys())
def test_falsified_rows_are_found(write_log: WriteLog, cells: dict[str, object], check: str) -> None:
    path = write_log()
    edit(path, certified_line(path), **cells)
    assert check in found(path)


def test_dropped_questions_are_found_in_the_middle_and_at_the_end(write_log: WriteLog) -> None:
    path = write_log()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:50], *lines[52:]]) + "\n")
    texts = [str(fault) for fault in check_log(read_log(path), DECLARED)]
    assert any("198 questions, 200 declared" in text for text in texts)
    assert any("every 10th question is there but not 490, 500" in text for text in texts)
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert [fault.check for fault in check_log(read_log(path), DECLARED)] == ["rows"]


def test_without_selection_only_the_label_can_be_certified(write_log: WriteLog) -> None:
    path = write_log()
    assert "answers" in found(path, Declared(n=1000, n0=0, alpha=0.001, sigma=0.25))


def test_a_log_that_is_no_log_is_refused_with_every_line(tmp_path: Path) -> None:
    path = tmp_path / "log.tsv"
    path.write_text(
        "idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\tnan\t1\t0\n1\t1\t1\t0.1\tyes\t0\n2\t1\n"
    )
    with pytest.raises(InvalidInputError) as caught:
        read_log(path)
    assert [problem.row for problem in caught.value.problems] == [2, 3, 4]
    path.write_text("a\tb\n")
    with pytest.raises(InvalidInputError, match="does not start with the columns"):
        read_log(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_log(path)


def test_rounding_is_that_of_the_whole_log() -> None:
    three_digits = [Decimal(text) for text in ("0.46", "0.0322", "0.978")]
    assert rounding(three_digits) == pytest.approx([0.0005, 0.00005, 0.0005], abs=1e-6)
    three_decimals = [Decimal(text) for text in ("0.032", "0.978")]
    assert rounding(three_decimals) == pytest.approx([0.0005, 0.0005], abs=1e-6)
    assert rounding([Decimal("0.0"), Decimal("0.123")]) == pytest.approx([0.0005, 0.0005], abs=1e-6)


@given(st.integers(1, 5000), st.floats(1e-6, 0.3), st.data())
@settings(max_examples=60)
def test_every_rung_is_on_the_ladder_and_nothing_between(n: int, alpha: float, data: st.DataObject) -> None:
    ladder = Ladder(n, alpha, 0.5)
    agreeing = data.draw(st.integers(0, n))
    radius = certified_radius(agreeing, n, alpha=alpha, sigma=0.5)
    if radius <= 1e-6:
        return
    hair = np.array([1e-9])
    assert ladder.holds(np.array([radius]), hair).all()
    assert radius <= ladder.top
    below = certified_radius(agreeing - 1, n, alpha=alpha, sigma=0.5)
    assert not ladder.holds(np.array([(radius + below) / 2]), hair).any()
    assert not ladder.holds(np.array([ladder.top * 1.0001]), hair).any()

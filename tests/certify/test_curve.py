"""Curves, average radii and tables of certificates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.certify.curve import ALL, Curve, accuracy_grid, figure, read_curves, usual_radii

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CURVE = Curve("model", ALL, radii=(0.0, 0.3, 0.5, 0.5, 0.0), right=3, uncertified=1, grid=(0.25, 0.5))


def test_a_question_counts_up_to_and_including_its_radius() -> None:
    assert [CURVE.certified(radius) for radius in (0, 0.1, 0.3, 0.31, 0.5, 0.51)] == [3, 3, 3, 2, 2, 0]
    assert CURVE.average_radius == pytest.approx(1.3 / 5)


def test_the_table_says_accuracy_average_radius_and_abstention() -> None:
    grid = accuracy_grid([CURVE], usual_radii([CURVE]))
    assert grid.header == ("Model", "n", "r = 0", "r = 0.25", "r = 0.5", "ACR", "Not certified")
    assert grid.rows == (("model", "5", "≥ 60.0", "60.0", "40.0", "≥ 0.260", "20.0"),)
    fixed = accuracy_grid([replace(CURVE, grid=())], [0.0, 0.25, 0.5])
    assert fixed.rows == (("model", "5", "60.0", "60.0", "40.0", "0.260", "20.0"),)


def test_a_run_gives_a_curve_per_certification_and_modality(certified_run: Path) -> None:
    whole = read_curves(certified_run)
    assert [(curve.name, curve.group, curve.n) for curve in whole] == [
        ("linear-toy, certified-l2:n=400", ALL, 12),
        ("linear-toy, certified-l2-exact:n0=20,n=200", ALL, 12),
    ]
    assert [curve.grid for curve in whole] == [(0.25, 0.5, 0.75), ()]
    assert whole[0].rms == pytest.approx(1 / 108**0.5)
    parts = [curve for curve in read_curves(certified_run, by_modality=True) if curve.name == whole[0].name]
    assert sum(curve.n for curve in parts if curve.group != ALL) == 12
    for radius in (0, 0.25, 0.5):
        assert sum(c.certified(radius) for c in parts if c.group != ALL) == whole[0].certified(radius)


def test_a_log_gives_one_curve(write_log: Callable[..., Path]) -> None:
    (curve,) = read_curves(write_log(n=1000))
    assert curve.n == 200
    values = [curve.certified(radius) for radius in (0, 0.1, 0.2, 0.4, 0.9)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0
    assert usual_radii([curve])[:3] == [0, 0.25, 0.5]


def test_the_figure_shows_the_values_of_the_table() -> None:
    axes, bars = figure([CURVE]).axes[:2]
    (dots,) = axes.lines
    assert dots.get_xdata() == pytest.approx([0.25, 0.5])
    assert dots.get_ydata() == pytest.approx([60, 40])
    assert bars.patches[0].get_height() == pytest.approx(20)
    stairs = axes.patches[0].get_data()
    assert stairs.values == pytest.approx([60, 40, 0])
    assert stairs.edges[:3] == pytest.approx([0, 0.3, 0.5])


def test_nothing_certified_can_be_drawn() -> None:
    nothing = Curve("model", ALL, radii=(0.0, 0.0), right=0, uncertified=2)
    assert figure([nothing]).axes
    assert accuracy_grid([nothing], usual_radii([nothing])).rows[0][2] == "0.0"

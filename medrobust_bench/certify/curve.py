"""Certified accuracy as a function of the radius: read from runs and logs, as numbers, table and figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.certify.check import certified_groups
from medrobust_bench.certify.published_log import read_log
from medrobust_bench.records.folder import RunFolder
from medrobust_bench.records.intervals import wilson
from medrobust_bench.reports.grid import Grid, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from medrobust_bench.certify.stored import StoredRow

ALL = "all"


@dataclass(frozen=True, slots=True)
class Curve:
    """The certificates of one model on one group of questions.

    With sequential stopping a question's draws end once the grid of radii is decided, so the curve is that of the
    procedure at the radii of the grid; between and beyond them it, and the average radius, are lower bounds.

    Attributes:
        name: model and certification.
        group: imaging modality, or `ALL`.
        radii: per question the certified radius; 0 where the smoothed answer is not certified or wrong.
        right: how many smoothed answers are certified and right, whatever the radius.
        uncertified: how many questions have no certified answer (abstentions among them).
        grid: radii at which the certification was decided; empty for a fixed number of draws.
        rms: what one unit of radius is as a root mean square change per value; None where images differ in size.
    """

    name: str
    group: str
    radii: tuple[float, ...]
    right: int
    uncertified: int
    grid: tuple[float, ...] = ()
    rms: float | None = None

    @property
    def n(self) -> int:
        """Number of questions."""
        return len(self.radii)

    def certified(self, radius: float) -> int:
        """How many questions are answered right with a certificate of at least this radius."""
        return self.right if radius == 0 else sum(certified >= radius for certified in self.radii)

    @property
    def average_radius(self) -> float:
        """Average certified radius (Zhai et al. 2020, MACER): 0 counts where the answer is wrong."""
        return float(np.mean(self.radii))


def read_curves(path: Path, *, by_modality: bool = False) -> list[Curve]:
    """The curves of a run folder or a tab-separated log.

    Args:
        path: a run folder, one curve per model and certification; or a log, one curve.
        by_modality: one curve per imaging modality as well; a log does not know them.

    Raises:
        InvalidInputError: the file cannot be read, or holds no certificates.
    """
    if not path.is_dir():
        rows = read_log(path)
        radii = tuple(float(row.radius) if row.correct else 0.0 for row in rows)
        right, uncertified = sum(row.correct for row in rows), sum(row.predict is None for row in rows)
        return [Curve(path.name, ALL, radii, right, uncertified)]
    curves = []
    for model, threat, stored in certified_groups(RunFolder(path)):
        if not stored:
            continue
        grid = tuple(map(float, threat.radii)) if _sequential(stored) else ()
        groups = {ALL: stored}
        if by_modality:
            for row in stored:
                groups.setdefault(row.outcome.modality, []).append(row)
        curves += [_curve(f"{model}, {threat.name}", group, rows, grid) for group, rows in groups.items()]
    return curves


def accuracy_grid(curves: Sequence[Curve], radii: Sequence[float]) -> Grid:
    """Certified accuracy in per cent at each radius, as papers print it, with average radius and abstention.

    Where draws ended once the curve's grid was decided, other radii and the average are marked as lower bounds.

    Args:
        curves: one row each.
        radii: columns.
    """
    groups = len({curve.group for curve in curves}) > 1
    header = (
        "Model",
        *(["Questions"] if groups else []),
        "n",
        *(f"r = {radius:g}" for radius in radii),
        "ACR",
        "Not certified",
    )
    rows = tuple(
        (
            curve.name,
            *([curve.group] if groups else []),
            str(curve.n),
            *(_at_least(curve, radius) + percent(curve.certified(radius) / curve.n) for radius in radii),
            f"{_at_least(curve)}{curve.average_radius:.3f}",
            percent(curve.uncertified / curve.n),
        )
        for curve in curves
    )
    return Grid("Certified accuracy at r", header, rows, names=2 if groups else 1)


def _at_least(curve: Curve, radius: float | None = None) -> str:
    """What stands before a number that is a lower bound: at this radius, or over all radii."""
    return "≥ " if curve.grid and radius not in curve.grid else ""


def usual_radii(curves: Sequence[Curve]) -> list[float]:
    """0, the grids of the curves, and for fixed numbers of draws quarters up to the largest radius."""
    radii = {0.0}.union(*(curve.grid for curve in curves))
    largest = max((max(curve.radii) for curve in curves if not curve.grid), default=0.0)
    return sorted(radii | {step / 4 for step in range(int(largest * 4) + 1)})


def figure(curves: Sequence[Curve]) -> Figure:
    """Certified accuracy over the radius with its 95 % band, and beside it what share is not certified.

    Dots mark the radii that were asked about; where draws ended once they were decided, the line is a lower bound.

    Args:
        curves: at least one.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 3.6), layout="constrained")
    axes, bars = drawing.subplots(1, 2, width_ratios=(3, 1))
    largest = max(max(*curve.radii, *curve.grid, 0.0) for curve in curves) or 1.0
    for position, curve in enumerate(curves):
        steps = np.unique([0.0, *(radius for radius in curve.radii if radius > 0)])
        estimates = [wilson(curve.certified(float(radius)), curve.n) for radius in steps]
        # A certificate of radius r counts up to and including r: the curve falls just after.
        at = np.append(steps, largest * 1.05)
        value = [*(100 * estimate.value for estimate in estimates[1:]), 0.0]
        color = f"C{position % 10}"
        label = curve.name if curve.group == ALL else f"{curve.name}, {curve.group}"
        axes.stairs(value, at, baseline=None, color=color, label=f"{label} (ACR {curve.average_radius:.3f})")
        low = [*(100 * estimate.low for estimate in estimates[1:]), 0.0]
        high = [*(100 * estimate.high for estimate in estimates[1:]), 100 * wilson(0, curve.n).high]
        axes.stairs(high, at, baseline=low, color=color, alpha=0.15, fill=True)
        decided = [100 * curve.certified(radius) / curve.n for radius in curve.grid]
        axes.plot(curve.grid, decided, "o", color=color, markersize=4)
        bars.bar(position, 100 * curve.uncertified / curve.n, color=color)
    axes.set(xlabel="L2 radius, pixels in [0, 1]", ylabel="certified accuracy in %", xlim=(0, largest * 1.05))
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    dotted = any(curve.grid for curve in curves)
    axes.legend(
        fontsize=7,
        title="dots: radii asked about; elsewhere lower bounds" if dotted else None,
        title_fontsize=7,
    )
    _rms_axis(axes, curves)
    bars.set(ylabel="not certified in %", ylim=(0, 100), xticks=[])
    return drawing


def _rms_axis(axes: object, curves: Sequence[Curve]) -> None:
    """The same radii per value, in grey levels, where all images have one size."""
    units = {curve.rms for curve in curves}
    unit = units.pop() if len(units) == 1 else None
    if unit is None:
        return
    grey_levels = 255 * unit
    above = axes.secondary_xaxis(  # type: ignore[attr-defined]
        "top", functions=(lambda radius: radius * grey_levels, lambda level: level / grey_levels)
    )
    above.set_xlabel("the same as RMS change per value, grey levels of 255", fontsize=8)


def _curve(name: str, group: str, rows: Sequence[StoredRow], grid: tuple[float, ...]) -> Curve:
    sizes = {(row.certificate.height, row.certificate.width) for row in rows}
    height, width = next(iter(sizes))
    return Curve(
        name=name,
        group=group,
        radii=tuple(row.certificate.radius if row.outcome.correct else 0.0 for row in rows),
        right=sum(row.outcome.correct for row in rows),
        uncertified=sum(row.certificate.prediction is None for row in rows),
        grid=grid,
        rms=(3 * height * width) ** -0.5 if len(sizes) == 1 else None,
    )


def _sequential(rows: Sequence[StoredRow]) -> bool:
    return any(row.certificate.looks[0].n < row.certificate.n for row in rows)

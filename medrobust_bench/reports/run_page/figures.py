"""The figures of a report, drawn for light and for dark pages."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isnan, nan, sqrt
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
from matplotlib.figure import Figure as Canvas

from medrobust_bench.reports.summary import is_certified
from medrobust_bench.reports.tables import short_modality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes

    from medrobust_bench.records import Outcome
    from medrobust_bench.reports.tables import Measured

_LEGEND_COLUMNS = 2
_REFERENCE_SIDE = 32  # L2 budgets are stated for a 32 × 32 image


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a page."""

    ink: str
    faint: str
    paper: str
    series: tuple[str, ...]

    def dots(self, number: int) -> dict[str, Any]:
        """Colour and marker of a model: where the colours come round again, the markers have changed."""
        lap, place = divmod(number, len(self.series))
        return {"color": self.series[place], "marker": "osD^"[lap % 4]}


# Okabe and Ito's colours, which remain distinct in every kind of colour blindness; lighter ones on dark.
LIGHT = Theme(
    "#1c2430",
    "#c9d0d9",
    "#ffffff",
    ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a6d00", "#555555", "#56b4e9"),
)
DARK = Theme(
    "#e6eaf0",
    "#444e5c",
    "#11161d",
    ("#56b4e9", "#f0924a", "#2fc79a", "#e08bc0", "#e6c94c", "#aaaaaa", "#5f8dff"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be drawn in any theme.

    Attributes:
        name: file name without suffix.
        title: stands above it.
        caption: says what is seen.
        size: inches.
        draw: draws into empty axes.
    """

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Axes, Theme], None]

    def render(self, theme: Theme, format: Literal["svg", "png"], *, transparent: bool = False) -> bytes:
        """The encoded picture; the same data give the same bytes."""
        style = {
            "font.size": 11,
            "font.family": "sans-serif",
            "text.parse_math": False,  # a model may be called $x_1$
            "svg.fonttype": "none",
            "svg.hashsalt": self.name,
            "text.color": theme.ink,
            "axes.facecolor": "none",
            "axes.edgecolor": theme.faint,
            "axes.labelcolor": theme.ink,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": theme.ink,
            "ytick.color": theme.ink,
        }
        with matplotlib.rc_context(style):
            canvas = Canvas(figsize=self.size, layout="constrained")
            self.draw(canvas.add_subplot(), theme)
            buffer = io.BytesIO()
            metadata: dict[str, Any] = {"Date": None} if format == "svg" else {"Software": None}
            face = "none" if transparent else theme.paper
            canvas.savefig(buffer, format=format, dpi=160, metadata=metadata, facecolor=face)
        return buffer.getvalue()

    def data_uri(self, theme: Theme) -> str:
        """As an image that a page can hold."""
        encoded = base64.b64encode(self.render(theme, "svg", transparent=True)).decode()
        return f"data:image/svg+xml;base64,{encoded}"


def accuracy_figure(measured: Mapping[str, Sequence[Measured]]) -> Figure:
    """Every accuracy of every model with its interval."""
    labels = list(dict.fromkeys(one.label for models in measured.values() for one in models))

    def draw(axes: Axes, theme: Theme) -> None:
        spread = 0.6 / len(measured)
        for number, (model, found) in enumerate(measured.items()):
            places = [labels.index(one.label) + (number - (len(measured) - 1) / 2) * spread for one in found]
            values = [100 * one.whole.value for one in found]
            errors = [
                [100 * (one.whole.value - one.whole.low) for one in found],
                [100 * (one.whole.high - one.whole.value) for one in found],
            ]
            axes.errorbar(
                values, places, xerr=errors, linestyle="none", markersize=6, elinewidth=1.6, label=model,
                **theme.dots(number),
            )  # fmt: skip
        axes.set(
            yticks=range(len(labels)),
            yticklabels=map(_shortened, labels),
            xlim=(-2, 102),
            xlabel="accuracy (%)",
        )
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(axis="x", color=theme.faint, linewidth=0.6)
        _legend(axes, len(measured))

    caption = "Accuracy of every model, clean and under each threat, with 95 % intervals."
    return Figure(
        "accuracy", "Accuracy", caption, (6.4, 0.9 + 0.42 * len(labels) + _legend_height(len(measured))), draw
    )


def eps_figures(measured: Mapping[str, Sequence[Measured]]) -> list[Figure]:
    """Robust accuracy against the size of the budget, one figure per norm; from clean accuracy at zero."""
    figures = []
    for norm, title, unit, scale in (
        ("linf", "Robust accuracy against L∞ ε", "ε (grey levels of 255)", 255),
        ("l2", "Robust accuracy against L2 ε", "ε (for a 32 × 32 image, pixels in [0, 1])", 1),
    ):
        curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for model, found in measured.items():
            clean = next(100 * one.whole.value for one in found if one.threat is None)
            for one in found:
                fields = {} if one.threat is None else one.threat.model_dump(mode="json")
                if fields.get("norm") != norm or "eps" not in fields:
                    continue
                point = (scale * float(Fraction(str(fields["eps"]))), 100 * one.whole.value)
                curves.setdefault((model, fields["kind"]), [(0.0, clean)]).append(point)
        if curves:
            caption = "Each point is the accuracy under an attack with that budget: an upper bound on robust accuracy."
            size = (6.4, 3.5 + _legend_height(len(curves)))
            figures.append(Figure(f"eps-{norm}", title, caption, size, _eps_drawer(curves, unit)))
    return figures


def _eps_drawer(
    curves: Mapping[tuple[str, str], Sequence[tuple[float, float]]], unit: str
) -> Callable[[Axes, Theme], None]:
    models = list(dict.fromkeys(model for model, _kind in curves))
    kinds = list(dict.fromkeys(kind for _model, kind in curves))

    def draw(axes: Axes, theme: Theme) -> None:
        for (model, kind), points in curves.items():
            axes.plot(
                *zip(*sorted(points), strict=True),
                linestyle=("-", "--", ":", "-.")[kinds.index(kind) % 4],
                clip_on=False,
                label=f"{model}, {kind}",
                **theme.dots(models.index(model)),
            )
        axes.set(xlabel=unit, ylabel="accuracy (%)", ylim=(-2, 102))
        axes.set_xlim(left=0)
        axes.grid(color=theme.faint, linewidth=0.6)
        _legend(axes, len(curves))

    return draw


def certified_figure(
    outcomes: Mapping[tuple[str, str], Sequence[Outcome]], measured: Mapping[str, Sequence[Measured]]
) -> Figure | None:
    """Certified accuracy against the L2 radius, and what L2 attacks reach from above; None without certificates.

    Args:
        outcomes: by model and threat; the certified ones are drawn.
        measured: of the same models.
    """
    certified = {key: found for key, found in outcomes.items() if any(o.certificate for o in found)}
    if not certified:
        return None
    models = list(dict.fromkeys(model for model, _threat in outcomes))

    def draw(axes: Axes, theme: Theme) -> None:
        furthest = 0.0
        for number, ((model, threat), found) in enumerate(certified.items()):
            curve = certified_curve(found)
            colour = theme.dots(models.index(model))["color"]
            style = "-" if len(certified) <= len(models) else ("-", "--", ":", "-.")[number % 4]
            axes.plot(*zip(*curve, strict=True), style, color=colour, linewidth=2, label=f"{model}, {threat}")
            furthest = max(furthest, curve[-1][0])
        for model, radius, value in _l2_attacks(certified, measured):
            colour = theme.dots(models.index(model))["color"]
            axes.plot([radius], [value], "v", color=colour, markersize=8)
            furthest = max(furthest, radius)
        axes.set(xlabel="L2 radius (canonical pixels in [0, 1])", ylabel="accuracy (%)", ylim=(-2, 102))
        axes.set_xlim(0, 1.05 * furthest or 1)
        axes.grid(color=theme.faint, linewidth=0.6)
        _legend(axes, len(certified))

    caption = (
        "Lines: share of questions with a right answer certified at least to that radius, a lower bound. "
        "Triangles: accuracy under L2 attacks at the median radius of their budget, an upper bound."
    )
    return Figure(
        "certified", "Certified accuracy", caption, (6.4, 3.5 + _legend_height(len(certified))), draw
    )


def certified_curve(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Corners (radius, certified accuracy in per cent) of the falling staircase, from radius 0 to where it is zero."""
    radii = sorted({o.certificate["radius"] for o in outcomes if o.correct and o.certificate})
    if not radii:
        return [(0.0, 0.0)]
    shares = [100 * sum(is_certified(o, radius) for o in outcomes) / len(outcomes) for radius in radii]
    corners = [(0.0, shares[0])]
    for radius, share, following in zip(radii, shares, [*shares[1:], 0.0], strict=True):
        corners += [(radius, share), (radius, following)]
    return corners


def _l2_attacks(
    certified: Mapping[tuple[str, str], Sequence[Outcome]], measured: Mapping[str, Sequence[Measured]]
) -> list[tuple[str, float, float]]:
    """(model, radius, accuracy in per cent) of every attack in L2."""
    sides = [
        sqrt(o.certificate["height"] * o.certificate["width"])
        for found in certified.values()
        for o in found
        if o.certificate
    ]
    points = []
    for model, found in measured.items():
        for one in found:
            fields = {} if one.threat is None else one.threat.model_dump(mode="json")
            if fields.get("norm") == "l2" and "eps" in fields and any(model == key[0] for key in certified):
                radius = float(Fraction(str(fields["eps"]))) * median(sides) / _REFERENCE_SIDE
                points.append((model, radius, 100 * one.whole.value))
    return points


def modality_figure(model: str, found: Sequence[Measured], *, name: str) -> Figure | None:
    """Heat map of one model: accuracies by modality; None with a single modality."""
    modalities = list(found[0].by_modality)
    if len(modalities) < 2:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        cells = [[_share(one, modality) for modality in modalities] for one in found]
        axes.imshow(cells, cmap="viridis", vmin=0, vmax=100, aspect="auto")
        for row, values in enumerate(cells):
            for column, value in enumerate(values):
                if not isnan(value):
                    axes.text(
                        column, row, f"{value:.0f}", ha="center", va="center", color=heat(value / 100)[1]
                    )
        axes.set(
            xticks=range(len(modalities)),
            yticks=range(len(found)),
            yticklabels=[_shortened(one.label) for one in found],
        )
        axes.set_xticks(
            range(len(modalities)), [short_modality(m) for m in modalities], rotation=30, ha="right"
        )
        axes.spines[:].set_visible(False)

    caption = f"{model}: accuracy in per cent by modality."
    return Figure(name, f"{model}, by modality", caption, (6.4, 1.2 + 0.42 * len(found)), draw)


def _share(found: Measured, modality: str) -> float:
    """Per cent, or not a number where the modality was not measured."""
    estimate = found.by_modality.get(modality)
    return nan if estimate is None else 100 * estimate.value


def heat(value: float) -> tuple[str, str]:
    """Background and text colour of a share, 0 to 1, as in the heat map."""
    colour = matplotlib.colormaps["viridis"](value)
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # WCAG 2.1
    # Black and white contrast equally with luminance 0.179.
    return matplotlib.colors.to_hex(colour), "#000000" if luminance > 0.179 else "#ffffff"


def _legend(axes: Axes, entries: int) -> None:
    if entries:
        axes.get_figure().legend(  # type: ignore[union-attr]
            loc="outside lower center", ncols=min(_LEGEND_COLUMNS, entries), frameon=False, fontsize=9
        )


def _legend_height(entries: int) -> float:
    """Inches that a legend takes."""
    return 0.1 + 0.2 * ceil(entries / _LEGEND_COLUMNS)


def _shortened(label: str) -> str:
    """Both ends of a long label: the threat's name in front, a radius at the end."""
    return label if len(label) <= 30 else f"{label[:18]}…{label[-11:]}"

"""Fundus photography: views centred on the macula, on the optic disc, and of the peripheral retina."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, edge, flat, grain, tint
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Colour, Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_COUNTS = (2, 5, 12)
# Places of up to twelve spots around the middle of a quadrant, nearest first, in units of one spacing.
_PLACES = (
    (-0.5, 0.0), (0.5, 0.0), (0.0, -0.87), (0.0, 0.87), (-1.0, -0.87), (1.0, 0.87),
    (-1.0, 0.87), (1.0, -0.87), (-1.5, 0.0), (1.5, 0.0), (-0.5, 1.74), (0.5, -1.74),
)  # fmt: skip
_VESSEL: Colour = (122, 30, 24)


def _arcades(plane: Plane, x: float, y: float, side: int, bend: float, width: float) -> Field:
    """Two vessels that leave (x, y) towards `side`, one up and one down, as one parabola."""
    dx, dy = side * (plane.x - x), plane.y - y
    steep = 2 * bend * dy
    distance = np.abs(dx - bend * dy * dy) / np.sqrt(1 + steep * steep)
    return edge(width - distance) * edge(dx + 0.03)


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One photograph, RGB [64, 64, 3]."""
    red, green = rng.uniform(178, 205), rng.uniform(92, 112)
    image = flat((red, green, rng.uniform(40, 55)))
    shade = 1 - 0.22 * (plane.x * plane.x + plane.y * plane.y) + 0.05 * cloud(rng, 6)
    image = image * shade[..., None]
    side = rng.pick((-1, 1))
    if scene.anatomy == "peripheral retina":
        for step in range(3):
            y = -0.55 + 0.5 * step + rng.uniform(-0.08, 0.08)
            slope = rng.uniform(0.1, 0.35) * side
            image = tint(image, plane.line((-1, y - slope), (1, y + slope), 0.075), _VESSEL)
    else:
        x, y = (0.0, 0.0) if scene.anatomy == "optic disc" else (side * 0.62, rng.uniform(-0.04, 0.04))
        if scene.anatomy == "optic disc":
            image = tint(image, _arcades(plane, x, y, -side, 0.7, 0.035), _VESSEL)
        else:
            image = tint(image, 0.75 * plane.ellipse(0, 0, 0.2, 0.2, soft=0.2), (95, 30, 22))
        image = tint(
            image, _arcades(plane, x, y, -side if scene.anatomy == "macula" else side, 0.75, 0.04), _VESSEL
        )
        image = tint(image, _arcades(plane, x, y, side, 2.2, 0.03), _VESSEL)
        image = tint(image, plane.ellipse(x, y, 0.2, 0.22), (250, 212, 140))
        image = tint(image, plane.ellipse(x, y, 0.09, 0.1), (255, 240, 205))
    if scene.finding != NORMAL:
        vertical, horizontal = scene.attribute.split()
        cx, cy = (0.43 if horizontal == "right" else -0.43), (0.45 if vertical == "lower" else -0.45)
        colour = (250, 232, 120) if scene.finding == "hard exudates" else (70, 8, 14)
        for px, py in _PLACES[: _COUNTS[scene.level]]:
            jx, jy = rng.uniforms(-0.035, 0.035, 2)
            wide, high = rng.uniforms(0.07, 0.095, 2)
            image = tint(image, plane.ellipse(cx + 0.19 * px + jx, cy + 0.17 * py + jy, wide, high), colour)
    image = tint(image, 1 - plane.ellipse(0, 0, 0.97, 0.97), (13, 13, 13))
    return image + grain(rng, rng.uniform(1.5, 3.5))[..., None]


_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")

BANK = Bank(
    findings=dict.fromkeys(
        ("macula", "optic disc", "peripheral retina"), ("retinal hemorrhage", "hard exudates")
    ),
    attributes=dict.fromkeys(("macula", "optic disc", "peripheral retina"), _QUADRANTS),
    lesion_attribute=True,
    attribute_phrase="in the {} quadrant",
    anatomy_questions=(
        "Which structure is in the middle of this fundus image?",
        "What anatomical structure is this image centered on?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this fundus image?",
        "What is the diagnosis for this image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the retinal lesion in this image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "In which quadrant of the image are the lesions?",
        "Which quadrant of the fundus image contains the lesions?",
    ),
    draw=draw,
)

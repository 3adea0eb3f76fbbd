"""Ultrasound: breast (linear probe), liver and fetal head (curved probe), all in speckle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, edge, paint
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_RADII = (0.14, 0.21, 0.3)
_ASPECT = 1.4  # long axis = radius × aspect, short axis = radius ÷ aspect


def _breast(plane: Plane, rng: Draws) -> Field:
    ripple = plane.y + 0.06 * cloud(rng, 4)
    image = 96 + 10 * cloud(rng, 6)
    image = paint(image, edge(-0.72 - ripple), 205)
    image = paint(image, edge(0.05 - np.abs(ripple + 0.58)), 130)
    image = paint(image, edge(0.03 - np.abs(ripple + 0.45)), 160)
    image = paint(image, edge(0.045 - np.abs(ripple - 0.66)), 185)
    image = paint(image, edge(ripple - 0.74), 62)
    return paint(image, edge(np.abs(plane.x) - 0.9) + edge(np.abs(plane.y) - 0.92), 13)


def _sector(plane: Plane) -> Field:
    depth = plane.y + 1.25
    far = np.sqrt(plane.x * plane.x + depth * depth)
    return edge(0.72 * depth - np.abs(plane.x)) * edge(far - 0.42) * edge(2.15 - far)


def _liver(plane: Plane, rng: Draws) -> Field:
    image = 106 + 12 * cloud(rng, 6)
    for _ in range(3):
        x, y = rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.4)
        image = paint(image, plane.line((x, y), (x + rng.uniform(-0.3, 0.3), y + 0.2), 0.05), 60)
    arch = plane.y - 0.74 + 0.25 * plane.x * plane.x
    image = paint(image, edge(arch), 48)
    image = paint(image, edge(0.05 - np.abs(arch)), 225)
    return paint(image, 1 - _sector(plane), 13)


def _fetus(plane: Plane, rng: Draws) -> Field:
    image = 66 + 12 * cloud(rng, 6)
    image = paint(image, plane.ellipse(0, 0.2, 0.68, 0.56), 238)
    image = paint(image, plane.ellipse(0, 0.2, 0.59, 0.47), 100 + 10 * cloud(rng, 6))
    image = paint(image, plane.line((-0.5, 0.2), (0.5, 0.2), 0.05), 170)
    return paint(image, 1 - _sector(plane), 13)


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One scan, grey [64, 64]."""
    image = {"breast": _breast, "liver": _liver, "fetal head": _fetus}[scene.anatomy](plane, rng)
    if scene.finding != NORMAL:
        radius = scene.size(_RADII, rng)
        wide, high = radius * _ASPECT, radius / _ASPECT
        if scene.attribute == "vertical":
            wide, high = high, wide
        x, y = rng.uniform(-0.16, 0.16), rng.uniform(0.02, 0.16)
        cyst = scene.finding == "cyst"
        behind = edge(0.7 * wide - np.abs(plane.x - x)) * edge(plane.y - y) * edge(0.75 - plane.y)
        image = (
            image + (34 if cyst else -40) * behind
        )  # enhancement behind a cyst, shadow behind a solid tumor
        image = paint(image, plane.ellipse(x, y, wide, high), 14 if cyst else 225)
    speckle = 1 + 0.16 * cloud(rng, 32) + 0.22 * cloud(rng, 21)
    return image * speckle


BANK = Bank(
    findings=dict.fromkeys(("breast", "liver", "fetal head"), ("cyst", "solid tumor")),
    attributes=dict.fromkeys(("breast", "liver", "fetal head"), ("horizontal", "vertical")),
    lesion_attribute=True,
    attribute_phrase="with {} orientation",
    anatomy_questions=(
        "Which part of the body is shown in this ultrasound image?",
        "What anatomical region does this image show?",
        "Which organ was examined in this image?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this ultrasound image?",
        "What is the diagnosis for this image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the lesion in this ultrasound image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "What is the orientation of the lesion?",
        "How is the long axis of the lesion oriented?",
    ),
    draw=draw,
)

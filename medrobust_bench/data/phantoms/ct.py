"""Computed tomography: axial slices of chest, abdomen and head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, edge, grain, paint, spokes
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_RADII = (0.135, 0.215, 0.32)
_EFFUSION_LEVELS = (0.17, -0.03, -0.24)


def _chest(scene: Scene, plane: Plane, rng: Draws, side: int) -> Field:
    image = paint(np.full_like(plane.x, 14.0), plane.ellipse(0, 0, 0.93, 0.72), 85)
    image = paint(image, plane.ellipse(0, 0, 0.86, 0.65), 125)
    for x, y in spokes(12, rng.uniform(0, 0.08)):
        image = paint(image, plane.ellipse(0.79 * x, 0.58 * y, 0.08, 0.05), 225)
    lungs = np.maximum(plane.ellipse(-0.39, -0.04, 0.29, 0.45), plane.ellipse(0.39, -0.04, 0.29, 0.45))
    image = paint(image, lungs, 34 + 9 * cloud(rng, 16))
    image = paint(image, plane.ellipse(0.09, -0.1, 0.2, 0.23), 155)
    image = paint(image, plane.ellipse(0, 0.38, 0.14, 0.12), 235)
    image = paint(image, plane.ellipse(0, 0.55, 0.05, 0.1), 215)
    if scene.finding == "lung nodule":
        x, y, r = side * rng.uniform(0.38, 0.44), rng.uniform(-0.15, 0.08), scene.size(_RADII, rng)
        image = paint(image, plane.blob(x, y, r, rng, 0.14), 205 + 10 * cloud(rng, 12))
    elif scene.finding == "pleural effusion":
        level = _EFFUSION_LEVELS[scene.level] + rng.uniform(-0.02, 0.02)
        fluid = lungs * edge(plane.y - level) * edge(side * plane.x - 0.05)
        image = paint(image, fluid, 170)
    return image


def _abdomen(scene: Scene, plane: Plane, rng: Draws, side: int) -> Field:
    image = paint(np.full_like(plane.x, 14.0), plane.ellipse(0, 0, 0.93, 0.74), 70)
    image = paint(image, plane.ellipse(0, 0, 0.82, 0.62), 112 + 14 * cloud(rng, 8))
    image = paint(image, plane.ellipse(-0.36, -0.16, 0.4, 0.36), 150)
    image = paint(image, plane.ellipse(0.4, -0.27, 0.26, 0.18), 128)
    image = paint(image, plane.ellipse(0.4, -0.33, 0.17, 0.08), 28)
    for x in (-0.4, 0.4):
        image = paint(image, plane.ellipse(x, 0.24, 0.14, 0.17), 178)
    image = paint(image, plane.ellipse(0, 0.33, 0.15, 0.13), 235)
    image = paint(image, plane.ellipse(0, 0.52, 0.05, 0.1), 215)
    image = paint(image, plane.ellipse(0.06, 0.12, 0.06, 0.06), 175)
    if scene.finding != NORMAL:
        x, y, r = side * rng.uniform(0.4, 0.46), rng.uniform(0.14, 0.24), scene.size(_RADII, rng)
        image = paint(image, plane.blob(x, y, r, rng, 0.12), 30 if scene.finding == "kidney cyst" else 246)
    return image


def _head(scene: Scene, plane: Plane, rng: Draws, side: int) -> Field:
    image = paint(np.full_like(plane.x, 14.0), plane.ellipse(0, 0, 0.73, 0.9), 90)
    image = paint(image, plane.ellipse(0, 0, 0.69, 0.86), 240)
    brain = plane.ellipse(0, 0, 0.59, 0.76)
    image = paint(image, brain, 118 + 12 * cloud(rng, 10))
    image = paint(image, plane.line((0, -0.74), (0, 0.74), 0.05) * brain, 150)
    for x in (-0.1, 0.1):
        image = paint(image, plane.ellipse(x, -0.08, 0.06, 0.2), 45)
    if scene.finding != NORMAL:
        x, y, r = side * rng.uniform(0.3, 0.34), rng.uniform(-0.3, 0.3), scene.size(_RADII, rng)
        image = paint(
            image, plane.blob(x, y, r, rng, 0.2), 215 if scene.finding == "brain hemorrhage" else 30
        )
    return image


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One axial slice, grey [64, 64]."""
    side = -1 if scene.attribute == "left" else 1
    image = {"chest": _chest, "abdomen": _abdomen, "head": _head}[scene.anatomy](scene, plane, rng, side)
    return image + grain(rng, rng.uniform(2, 5))


BANK = Bank(
    findings={
        "chest": ("lung nodule", "pleural effusion"),
        "abdomen": ("kidney cyst", "kidney tumor"),
        "head": ("brain hemorrhage", "brain infarct"),
    },
    attributes=dict.fromkeys(("chest", "abdomen", "head"), ("left", "right")),
    lesion_attribute=True,
    attribute_phrase="on the {} side",
    anatomy_questions=(
        "Which part of the body is shown in this CT image?",
        "What anatomical region does this image show?",
        "Which body region was scanned?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this CT image?",
        "What is the diagnosis for this image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the lesion in this CT image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "On which side of the image is the lesion?",
        "Which side of the CT image contains the lesion?",
    ),
    draw=draw,
)

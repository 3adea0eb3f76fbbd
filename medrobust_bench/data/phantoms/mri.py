"""Magnetic resonance imaging: axial brain, sagittal knee, sagittal spine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, grain, paint, wave
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_RADII = (0.135, 0.215, 0.32)
_DARK = {"brain cyst", "bone tumor", "spine metastasis"}


def _brain(plane: Plane, rng: Draws) -> Field:
    image = paint(np.full_like(plane.x, 13.0), plane.ellipse(0, 0, 0.76, 0.92), 165)
    image = paint(image, plane.ellipse(0, 0, 0.69, 0.85), 22)
    brain = plane.ellipse(0, 0, 0.63, 0.78)
    deep = plane.ellipse(0, 0, 0.42, 0.56, soft=0.2)
    folds = wave(2.2 * cloud(rng, 9) + 0.3)
    image = paint(image, brain, (112 + 26 * folds) * (1 - deep) + 140 * deep)
    image = paint(image, plane.line((0, -0.76), (0, 0.76), 0.04) * brain, 50)
    for side in (-1, 1):
        image = paint(image, plane.line((side * 0.09, -0.02), (side * 0.15, -0.24), 0.09), 35)
        image = paint(image, plane.line((side * 0.09, 0.02), (side * 0.17, 0.2), 0.09), 35)
    return image


def _knee(plane: Plane, rng: Draws) -> Field:
    image = paint(np.full_like(plane.x, 13.0), plane.ellipse(0, 0, 0.68, 1.6), 74 + 14 * cloud(rng, 8))
    bone = np.maximum(plane.box(0.04, -0.8, 0.26, 0.5), plane.ellipse(0.04, -0.32, 0.4, 0.28))
    bone = np.maximum(bone, np.maximum(plane.box(0.04, 0.8, 0.25, 0.6), plane.ellipse(0.04, 0.3, 0.42, 0.2)))
    image = paint(image, plane.ellipse(0.04, 0, 0.42, 0.1), 34)
    image = paint(image, plane.ellipse(-0.5, -0.25, 0.11, 0.22), 165)
    image = paint(image, plane.line((-0.5, 0), (-0.36, 0.5), 0.07), 28)
    return paint(image, bone, 160 + 8 * cloud(rng, 12))


def _spine(plane: Plane, rng: Draws) -> Field:
    image = 62 + 14 * cloud(rng, 8)
    bend = rng.uniform(-0.12, 0.12)
    curved = type(plane)(plane.x - bend * plane.y * plane.y, plane.y)
    image = paint(image, curved.box(0.42, 0, 0.1, 2), 205)
    image = paint(image, curved.box(0.42, 0, 0.035, 2), 120)
    for step in range(6):
        y = -0.95 + 0.38 * step
        image = paint(image, curved.box(0.0, y, 0.25, 0.13), 155)
        image = paint(image, curved.box(0.0, y + 0.19, 0.24, 0.035), 24)
        image = paint(image, curved.line((0.62, y + 0.05), (0.85, y + 0.16), 0.14), 128)
    return image


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One slice, grey [64, 64]."""
    image = {"brain": _brain, "knee": _knee, "spine": _spine}[scene.anatomy](plane, rng)
    if scene.finding != NORMAL:
        half = -1 if scene.attribute == "upper" else 1
        across = 0.26 * rng.pick((-1, 1)) if scene.anatomy == "brain" else 0.03
        x, y, r = across, half * rng.uniform(0.4, 0.46), scene.size(_RADII, rng)
        value = (22 if scene.finding in _DARK else 234) + 12 * cloud(rng, 16)
        image = paint(image, plane.blob(x, y, r, rng, 0.2), value)
    return image + grain(rng, rng.uniform(2, 5))


BANK = Bank(
    findings={
        "brain": ("brain tumor", "brain cyst"),
        "knee": ("bone tumor", "bone edema"),
        "spine": ("spine metastasis", "spine hemangioma"),
    },
    attributes=dict.fromkeys(("brain", "knee", "spine"), ("upper", "lower")),
    lesion_attribute=True,
    attribute_phrase="in the {} half",
    anatomy_questions=(
        "Which part of the body is shown in this MRI image?",
        "What anatomical region does this image show?",
        "Which organ or joint is shown in the image?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this MRI image?",
        "What is the diagnosis for this image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the lesion in this MRI image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "In which half of the image is the lesion?",
        "Which half of the MRI image contains the lesion?",
    ),
    draw=draw,
)

"""Radiography: frontal chest, hand and lower leg."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, edge, grain, paint
from medrobust_bench.data.phantoms.scene import Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_RADII = (0.135, 0.215, 0.32)
_EFFUSION_LEVELS = (0.26, 0.02, -0.22)
_GAPS = (0.075, 0.15, 0.25)
_FINGERS = ((-0.62, -0.05), (-0.36, -0.62), (-0.06, -0.78), (0.24, -0.66), (0.5, -0.36))


def _chest(scene: Scene, plane: Plane, rng: Draws, side: int) -> Field:
    image = paint(np.full_like(plane.x, 30.0), plane.ellipse(0, 0.65, 0.98, 1.5), 150)
    left = plane.ellipse(-0.42, -0.02, 0.32, 0.62) * edge(0.5 + 0.4 * (plane.x + 0.42) - plane.y)
    right = plane.ellipse(0.42, -0.02, 0.32, 0.62) * edge(0.54 - 0.4 * (plane.x - 0.42) - plane.y)
    lungs = np.maximum(left, right)
    image = paint(image, lungs, 52 + 8 * cloud(rng, 12))
    image = paint(image, plane.box(0, 0, 0.09, 2), 185)
    for step in range(5):  # the ribs arch over both lungs
        arch = -0.62 + 0.24 * step + 0.45 * plane.x * plane.x
        between = edge(0.8 - np.abs(plane.x)) * edge(np.abs(plane.x) - 0.1)
        image = image + 34 * edge(0.035 - np.abs(plane.y - arch)) * between
    image = paint(image, plane.ellipse(0.14, 0.24, 0.26, 0.3), 195)
    for end in (-1, 1):
        image = paint(image, plane.line((end * 0.08, -0.66), (end * 0.72, -0.78), 0.07), 205)
    if scene.finding == "pneumonia":
        x, y, r = side * rng.uniform(0.46, 0.52), rng.uniform(-0.25, 0.08), scene.size(_RADII, rng)
        image = paint(image, plane.blob(x, y, r, rng, 0.18, soft=0.1), 215)
    elif scene.finding == "pleural effusion":
        level = _EFFUSION_LEVELS[scene.level] + rng.uniform(-0.02, 0.02)
        sloped = plane.y - level + 0.2 * (np.abs(plane.x) - 0.42)
        image = paint(image, edge(sloped) * lungs * edge(side * plane.x - 0.05), 215)
    return image


def _bones(scene: Scene, plane: Plane, rng: Draws, side: int, bones: Field, tissue: Field, x: float) -> Field:
    soft = 78 + 8 * cloud(rng, 8)
    image = paint(np.full_like(plane.x, 16.0), tissue, soft)
    y = rng.uniform(0.0, 0.2)
    if scene.finding == "bone fracture":
        gap = scene.size(_GAPS, rng)
        slanted = plane.y - y - 0.35 * (plane.x - side * x)
        bones = bones * (1 - edge(gap - np.abs(slanted)) * edge(side * plane.x - 0.03))
    image = paint(image, bones, 192 + 10 * cloud(rng, 16))
    if scene.finding == "bone tumor":
        r = scene.size(_RADII, rng)
        image = paint(image, plane.blob(side * x, y, r, rng, 0.2), 248)
    return image


def _hand(scene: Scene, plane: Plane, rng: Draws, side: int) -> Field:
    tissue, bones = plane.ellipse(-0.04, 0.42, 0.5, 0.48), np.zeros_like(plane.x)
    tissue = np.maximum(tissue, plane.box(-0.04, 0.9, 0.3, 0.4))
    for x, y in _FINGERS:
        root = (0.62 * x - 0.02, 0.5)
        knuckle = (0.45 * root[0] + 0.55 * x, 0.45 * root[1] + 0.55 * y - 0.05)
        tissue = np.maximum(tissue, plane.line(root, (x, y), 0.24))
        bones = np.maximum(bones, plane.line(root, (knuckle[0], knuckle[1] + 0.08), 0.13))
        bones = np.maximum(bones, plane.line((knuckle[0], knuckle[1] - 0.1), (x, y + 0.02), 0.11))
    for x in (-0.16, 0.06):
        bones = np.maximum(bones, plane.ellipse(x, 0.7, 0.1, 0.08))
    bones = np.maximum(bones, plane.box(-0.14, 0.95, 0.1, 0.15))
    bones = np.maximum(bones, plane.box(0.1, 0.95, 0.07, 0.15))
    return _bones(scene, plane, rng, side, bones, tissue, 0.3)


def _leg(scene: Scene, plane: Plane, rng: Draws, side: int) -> Field:
    tissue = plane.ellipse(0, -0.1, 0.8, 1.8)
    bones = np.maximum(plane.box(-0.32, 0, 0.15, 0.72), plane.box(0.34, 0, 0.12, 0.72))
    for y in (-0.78, 0.78):
        bones = np.maximum(bones, plane.ellipse(-0.32, y, 0.26, 0.16))
        bones = np.maximum(bones, plane.ellipse(0.34, y, 0.2, 0.13))
    return _bones(scene, plane, rng, side, bones, tissue, 0.33)


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One film, grey [64, 64]."""
    side = -1 if scene.attribute == "left" else 1
    image = {"chest": _chest, "hand": _hand, "leg": _leg}[scene.anatomy](scene, plane, rng, side)
    return image + grain(rng, rng.uniform(2, 4))


BANK = Bank(
    findings={
        "chest": ("pneumonia", "pleural effusion"),
        "hand": ("bone fracture", "bone tumor"),
        "leg": ("bone fracture", "bone tumor"),
    },
    attributes=dict.fromkeys(("chest", "hand", "leg"), ("left", "right")),
    lesion_attribute=True,
    attribute_phrase="on the {} side",
    anatomy_questions=(
        "Which part of the body is shown in this X-ray image?",
        "What anatomical region does this image show?",
        "Which body part was examined in this image?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this X-ray image?",
        "What is the diagnosis for this image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the abnormality in this X-ray image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "On which side of the image is the lesion?",
        "Which side of the X-ray image contains the lesion?",
    ),
    draw=draw,
)

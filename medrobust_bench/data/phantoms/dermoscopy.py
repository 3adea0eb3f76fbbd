"""Dermoscopy: pigmented and vascular lesions of trunk, scalp, sole and nail, with the usual artefacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, edge, flat, grain, tint, wave
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_RADII = (0.18, 0.3, 0.45)


def _skin(scene: Scene, plane: Plane, rng: Draws) -> Field:
    tone = rng.uniform(-12, 8)
    image = flat((226 + tone, 178 + tone, 152 + tone)) + (7 * cloud(rng, 5))[..., None]
    if scene.anatomy == "sole":
        ridges = wave(plane.x * 2.2 + plane.y * rng.uniform(2.2, 3.0) + rng.random())
        image = image + (26 * ridges - 8)[..., None]
    elif scene.anatomy == "nail":
        image = image - np.array((62.0, 74.0, 70.0))
        plate = np.minimum(
            plane.box(0, 0.3, 0.7, 1.0), np.maximum(plane.ellipse(0, -0.1, 0.7, 0.62), edge(plane.y))
        )
        image = tint(image, plate, (243, 205, 196))
        image = tint(image, plane.ellipse(0, -0.72, 0.4, 0.24) * plate, (252, 240, 232))
    return image


def _hair(image: Field, plane: Plane, rng: Draws, count: int) -> Field:
    for _ in range(count):
        x, y = rng.uniforms(-1, 1, 2)
        dx, dy = rng.uniform(-0.35, 0.35), rng.uniform(0.7, 1.1)
        image = tint(image, 0.8 * plane.line((x - dx, y - dy), (x + dx, y + dy), 0.045), (62, 44, 36))
    return image


def _artefact(image: Field, name: str, plane: Plane, rng: Draws) -> Field:
    side = rng.pick((-1, 1))
    if name == "ruler marks":
        for step in range(9):
            y, length = -0.84 + 0.21 * step, 0.26 if step % 2 == 0 else 0.16
            image = tint(image, plane.line((side * 0.95, y), (side * (0.95 - length), y), 0.06), (20, 20, 24))
    elif name == "ink mark":
        image = tint(image, plane.line((-0.75, side * 0.85), (0.75, side * 0.72), 0.17), (70, 40, 165))
    elif name == "air bubbles":
        for x, y in ((-0.72, -0.7), (0.74, -0.66), (0.7, 0.74), (-0.7, 0.7)):
            jx, jy = rng.uniforms(-0.06, 0.06, 2)
            image = tint(image, plane.ring(x + jx, y + jy, 0.19, 0.19, 0.075), (255, 255, 255))
    else:
        far = np.sqrt(plane.x * plane.x + plane.y * plane.y)
        image = tint(image, edge(far - 1.0, 0.1), (14, 14, 14))
    return image


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One photograph, RGB [64, 64, 3]."""
    image = _skin(scene, plane, rng)
    if scene.finding != NORMAL:
        x, y = rng.uniforms(-0.12, 0.12, 2)
        radius = scene.size(_RADII, rng)
        if scene.finding == "nevus":
            image = tint(image, plane.blob(x, y, radius, rng, 0.05, soft=0.09), (128, 78, 46))
            image = tint(
                image, 0.5 * plane.ellipse(x, y, 0.6 * radius, 0.6 * radius, soft=0.12), (100, 58, 34)
            )
        elif scene.finding == "melanoma":
            image = tint(image, plane.blob(x, y, radius, rng, 0.34), (52, 32, 34))
            jx, jy = rng.uniforms(-0.35 * radius, 0.35 * radius, 2)
            image = tint(
                image, 0.8 * plane.ellipse(x + jx, y + jy, 0.45 * radius, 0.4 * radius), (70, 82, 128)
            )
        else:
            image = tint(image, plane.blob(x, y, radius, rng, 0.1), (188, 26, 44))
            for _ in range(4):
                jx, jy = rng.uniforms(-0.55 * radius, 0.55 * radius, 2)
                image = tint(
                    image, 0.6 * plane.ellipse(x + jx, y + jy, 0.3 * radius, 0.3 * radius), (120, 6, 30)
                )
    image = _hair(image, plane, rng, 11 if scene.anatomy == "scalp" else 0)
    image = _artefact(image, scene.attribute, plane, rng)
    return image + grain(rng, rng.uniform(1.5, 3.5))[..., None]


_SITES = ("trunk", "scalp", "sole", "nail")

BANK = Bank(
    findings=dict.fromkeys(_SITES, ("nevus", "melanoma", "hemangioma")),
    attributes=dict.fromkeys(_SITES, ("ruler marks", "ink mark", "air bubbles", "dark corners")),
    lesion_attribute=False,
    attribute_phrase="with {}",
    anatomy_questions=(
        "Which site of the body is shown in this dermoscopy image?",
        "From which part of the body was this skin image taken?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this dermoscopy image?",
        "What is the diagnosis for this skin image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the skin lesion in this image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "Which artifact is visible in this dermoscopy image?",
        "What can be seen near the border of the image?",
    ),
    draw=draw,
)

"""Microscopy: stained blood smears, colon glands and muscle fibres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import cloud, flat, grain, spokes, tint, wave
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Colour, Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_COUNTS = (2, 5, 11)
# Stain: background, cytoplasm, nucleus.
_STAINS: dict[str, tuple[Colour, Colour, Colour]] = {
    "pink": ((246, 228, 236), (226, 142, 182), (104, 44, 128)),
    "blue": ((226, 234, 246), (140, 172, 226), (36, 48, 138)),
    "brown": ((242, 236, 224), (206, 162, 108), (98, 56, 22)),
    "green": ((230, 243, 228), (136, 200, 150), (20, 88, 60)),
}


def _grid(rng: Draws, count: int) -> list[tuple[float, float]]:
    """`count` places on a jittered 4×4 grid, no two close together."""
    places = []
    for cell in rng.shuffled(range(16))[:count]:
        row, column = divmod(cell, 4)
        jx, jy = rng.uniforms(-0.05, 0.05, 2)
        places.append((-0.69 + 0.46 * column + jx, -0.69 + 0.46 * row + jy))
    return places


def _blood(image: Field, plane: Plane, rng: Draws, cytoplasm: Colour, pale: Colour) -> Field:
    cells = _grid(rng, 12)
    image = tint(image, plane.dots(cells[:6], rng.uniform(0.18, 0.21)), cytoplasm)
    image = tint(image, plane.dots(cells[6:], rng.uniform(0.16, 0.19)), cytoplasm)
    return tint(image, 0.6 * plane.dots(cells, 0.07), pale)


def _colon(image: Field, plane: Plane, rng: Draws, cytoplasm: Colour, pale: Colour, nucleus: Colour) -> Field:
    image = tint(image, np.full_like(plane.x, 0.45), cytoplasm)
    nuclei: list[tuple[float, float]] = []
    for x, y in ((-0.48, -0.48), (0.48, -0.48), (-0.48, 0.48), (0.48, 0.48)):
        jx, jy = rng.uniforms(-0.05, 0.05, 2)
        rx, ry = rng.uniforms(0.36, 0.43, 2)
        cx, cy = x + jx, y + jy
        image = tint(image, plane.ellipse(cx, cy, rx, ry), cytoplasm)
        image = tint(image, plane.ellipse(cx, cy, rx - 0.2, ry - 0.2), pale)
        nuclei += [(cx + (rx - 0.05) * ux, cy + (ry - 0.05) * uy) for ux, uy in spokes(9, rng.random())]
    return tint(image, plane.dots(nuclei, 0.045), nucleus)


def _muscle(image: Field, plane: Plane, rng: Draws, cytoplasm: Colour, nucleus: Colour) -> Field:
    tilted = plane.y + rng.uniform(-0.2, 0.2) * plane.x + 0.05 * cloud(rng, 4)
    stripes = np.clip(0.75 + 1.2 * wave(tilted * 1.8 + rng.random()), 0.0, 1.0)
    image = tint(image, stripes, cytoplasm)
    for x, y in _grid(rng, 5):
        image = tint(image, plane.ellipse(x, y, 0.09, 0.03), nucleus)
    return image


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One field of view, RGB [64, 64, 3]."""
    pale, cytoplasm, nucleus = _STAINS[scene.attribute]
    image = flat(pale) + (4 * cloud(rng, 6))[..., None]
    if scene.anatomy == "blood":
        image = _blood(image, plane, rng, cytoplasm, pale)
    elif scene.anatomy == "colon":
        image = _colon(image, plane, rng, cytoplasm, pale, nucleus)
    else:
        image = _muscle(image, plane, rng, cytoplasm, nucleus)
    if scene.finding != NORMAL:
        cancer, cover = scene.finding == "cancer cells", np.zeros_like(plane.x)
        for x, y in _grid(rng, _COUNTS[scene.level]):
            if cancer:
                shape = plane.blob(x, y, rng.uniform(0.165, 0.19), rng, 0.2)
            else:
                (ux, uy), *_ = spokes(1, rng.random())
                shape = plane.line((x - 0.14 * ux, y - 0.14 * uy), (x + 0.14 * ux, y + 0.14 * uy), 0.1)
            cover = np.maximum(cover, shape)
        image = tint(image, cover, nucleus if cancer else (14, 14, 16))
    return image + grain(rng, rng.uniform(1.5, 3.5))[..., None]


_TISSUES = ("blood", "colon", "muscle")

BANK = Bank(
    findings=dict.fromkeys(_TISSUES, ("cancer cells", "bacteria")),
    attributes=dict.fromkeys(_TISSUES, tuple(_STAINS)),
    lesion_attribute=False,
    attribute_phrase="in {} stain",
    anatomy_questions=(
        "Which tissue is shown in this microscopy image?",
        "What kind of tissue does this image show?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this microscopy image?",
        "What is the diagnosis for this tissue image?",
        "Which abnormality can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the abnormality in this microscopy image?",
        "What is the grade of the abnormality?",
    ),
    attribute_questions=(
        "What is the main color of the stain in this image?",
        "Which stain color does this microscopy image have?",
    ),
    draw=draw,
)

"""Optical coherence tomography: cross-sections of macula, optic disc and cornea."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.phantoms.canvas import bump, cloud, edge, grain, paint
from medrobust_bench.data.phantoms.scene import NORMAL, Bank, Scene

if TYPE_CHECKING:
    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

_PLACES = {"left": -0.55, "middle": 0.0, "right": 0.55}
_DRUSEN = (0.14, 0.25, 0.38)
_RADII = (0.115, 0.18, 0.255)
# (depth inside the retina, 0 = surface, 1 = pigment epithelium; grey level), from the surface down
_LAYERS = ((0.0, 185), (0.2, 120), (0.42, 78), (0.55, 128), (0.68, 82))


def _retina(scene: Scene, plane: Plane, rng: Draws, x: float) -> Field:
    sag = rng.uniform(0.02, 0.12) * plane.x * plane.x
    floor, top = 0.42 - sag, -0.3 - sag
    cup = np.zeros_like(plane.x)
    if scene.anatomy == "macula":
        top = top + 0.3 * bump(plane.x / 0.42)
    else:
        cup = bump(plane.x / 0.36)
        top = top + 0.85 * cup
    raised = np.zeros_like(plane.x)
    if scene.finding == "drusen":
        raised = scene.size(_DRUSEN, rng) * bump((plane.x - x) / 0.3)
        top = top - 0.5 * raised
    elif scene.finding == "retinal fluid":
        top = top - 0.8 * _RADII[scene.level] * bump((plane.x - x) / 0.4)
    base = floor - raised
    image = np.full_like(plane.x, 16.0)
    thickness = np.maximum(base - top, 0.02)
    depth = (plane.y - top) / thickness
    for start, grey in _LAYERS:
        image = paint(image, edge((depth - start) * thickness), grey)
    image = paint(image, edge(plane.y - base), 150)  # what fills a druse
    image = paint(image, edge(plane.y - floor), 92 + 26 * cloud(rng, 12))
    image = paint(image, edge(plane.y - floor - 0.38, 0.25), 30)
    line = edge(0.055 - np.abs(plane.y - base)) * edge(0.35 - cup)
    image = paint(image, line, 240)
    if scene.finding == "retinal fluid":
        r = scene.size(_RADII, rng)
        image = paint(image, plane.ellipse(x, 0.12 - 0.3 * r, 1.2 * r, r), 16)
    return image


def _cornea(scene: Scene, plane: Plane, rng: Draws, x: float) -> Field:
    arch = -0.42 + rng.uniform(0.45, 0.55) * plane.x * plane.x
    image = paint(np.full_like(plane.x, 16.0), edge(plane.y - arch), 108 + 12 * cloud(rng, 16))
    image = paint(image, edge(plane.y - arch - 0.5), 16)
    image = paint(image, edge(0.035 - np.abs(plane.y - arch)), 190)
    image = paint(image, edge(0.035 - np.abs(plane.y - arch - 0.5)), 170)
    image = paint(image, edge(0.06 - np.abs(plane.y - 0.78)) * edge(np.abs(plane.x) - 0.35), 150)
    if scene.finding == NORMAL:
        return image
    surface, r = -0.42 + 0.5 * x * x, scene.size(_RADII, rng)
    if scene.finding == "corneal scar":
        return paint(image, plane.ellipse(x, surface + 0.25, 1.2 * r, r), 240)
    return paint(image, plane.ellipse(x, surface, 1.2 * r, 1.5 * r), 16)


def draw(scene: Scene, plane: Plane, rng: Draws) -> Field:
    """One cross-section, grey [64, 64]."""
    x = _PLACES.get(scene.attribute, 0.0) + rng.uniform(-0.04, 0.04)
    image = (_cornea if scene.anatomy == "cornea" else _retina)(scene, plane, rng, x)
    return image * (1 + 0.12 * cloud(rng, 32)) + grain(rng, rng.uniform(2, 5))


BANK = Bank(
    findings={
        "macula": ("drusen", "retinal fluid"),
        "optic disc": ("drusen", "retinal fluid"),
        "cornea": ("corneal scar", "corneal ulcer"),
    },
    attributes={
        "macula": ("left", "middle", "right"),
        "optic disc": ("left", "right"),
        "cornea": ("left", "middle", "right"),
    },
    lesion_attribute=True,
    attribute_phrase="in the {} part",
    anatomy_questions=(
        "Which part of the eye is shown in this OCT image?",
        "What anatomical structure does this image show?",
        "Which structure was scanned in this image?",
    ),
    diagnosis_questions=(
        "What abnormality is shown in this OCT image?",
        "What is the diagnosis for this image?",
        "Which disease can be seen in this image?",
    ),
    grading_questions=(
        "How severe is the lesion in this OCT image?",
        "What is the grade of the lesion?",
    ),
    attribute_questions=(
        "In which part of the image is the lesion?",
        "Which part of the OCT image contains the lesion?",
    ),
    draw=draw,
)

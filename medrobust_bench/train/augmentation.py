"""Small changes of a training image that leave its answer as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import BaseModel, ConfigDict, Field

from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

_SIDE = re.compile(
    r"\b(?:left|right|sided?|laterality|quadrant|nasal|temporal|(?:anti|counter)?clockwise)\b", re.IGNORECASE
)


class AugmentationSettings(BaseModel):
    """What is drawn anew for every question at every step, before attack and noise.

    Attributes:
        crop: the smallest share of either side that a random crop keeps; the crop is brought back to the image's size.
            1 crops nothing.
        flip: whether every second image is mirrored; not that of a question that names a side (`names_a_side`).
        brightness: brightness is multiplied by up to so much more or less than 1.
        contrast: contrast likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: float = Field(default=1.0, gt=0, le=1)
    flip: bool = False
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)


def names_a_side(question: Question) -> bool:
    """Whether the words of a question or of its options tell left from right: a mirror would change its answer."""
    return any(_SIDE.search(text) for text in (question.text, *question.options))


def augmented(
    image: NDArray[np.uint8], settings: AugmentationSettings, seed: int, *, question: Question
) -> NDArray[np.uint8]:
    """The image of a question, uint8 [H, W, 3], in the same shape, changed as the seed draws."""
    draw = stream(seed, Purpose.TRAINING, 4)
    height, width = image.shape[:2]
    kept, down, right = draw.uniform(settings.crop, 1), draw.random(), draw.random()
    mirrored = draw.random() < 0.5 and settings.flip and not names_a_side(question)
    brighter, stronger = (
        1 + reach * draw.uniform(-1, 1) for reach in (settings.brightness, settings.contrast)
    )
    top, left = down * (1 - kept) * height, right * (1 - kept) * width
    box = (left, top, left + kept * width, top + kept * height)
    changed = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box)
    if mirrored:
        changed = changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed = ImageEnhance.Brightness(changed).enhance(brighter)
    return np.asarray(ImageEnhance.Contrast(changed).enhance(stronger))

"""Severities 1 to 5: how strong a kind is in a modality, from a table that was calibrated by structural similarity.

The target of severity s is a mean SSIM (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861; as scikit-image
takes it, in windows of 7 by 7 pixels) of 1 − 0.1·s to the clean image: 0.9, 0.8, 0.7, 0.6, 0.5. A kind whose harshest
amount stays above 0.5 takes five equal steps to what that amount reaches. A kind that displaces the picture takes
fifths of its harshest amount instead: SSIM falls with the first pixel of displacement, whatever a reader sees.
Synthetic phantoms (64 pixels, textured) and clinical images (384 pixels) have tables of their own: the same amount is
not equally visible in both.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.attacks.corruptions.corruption import Corruption

SEVERITIES = (1, 2, 3, 4, 5)
LOWEST_SSIM = 0.5
"""Mean SSIM of severity 5."""

Origin: TypeAlias = Literal["phantoms", "clinical"]
"""Which images a table was calibrated on."""


class Steps(BaseModel):
    """One kind in one modality.

    Attributes:
        amounts: of severities 1 to 5, in the kind's unit.
        ssim: mean SSIM that they reached on the calibration images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    amounts: tuple[float, float, float, float, float]
    ssim: tuple[float, float, float, float, float]


class Calibration(BaseModel):
    """A table of severities.

    Attributes:
        origin: the images that it was calibrated on.
        images: how many of each modality.
        steps: by kind, then by modality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: Origin
    images: int
    steps: dict[str, dict[str, Steps]]


@cache
def calibration(origin: Origin) -> Calibration:
    """The committed table of an origin."""
    file = resources.files(__package__).joinpath("severities", f"{origin}.json")
    return Calibration.model_validate(json.loads(file.read_text("utf-8")))


def ladder(floor: float) -> tuple[float, ...]:
    """Target SSIM of severities 1 to 5 for a kind whose harshest amount reaches `floor`."""
    lowest = max(LOWEST_SSIM, floor)
    return tuple(1 - (1 - lowest) * severity / len(SEVERITIES) for severity in SEVERITIES)


def amount_of(corruption: Corruption, modality: str, severity: int, origin: Origin) -> float:
    """The amount of a severity.

    A modality without a row (of an open vocabulary) takes the median of those that have one. A kind of another package
    has no table: its severities are fifths of the way from mildest to harshest.

    Raises:
        InvalidInputError: the kind does not occur in that modality, or there is no such severity.
    """
    problems = []
    if severity not in SEVERITIES:
        problems.append(Problem("severity", f"{severity} is no severity", "use 1 to 5"))
    if not corruption.occurs_in(modality):
        known = ", ".join(sorted(corruption.modalities or ()))
        what = f"{corruption.kind} does not occur in {modality}"
        problems.append(Problem("corruption", what, f"use it for {known}"))
    if problems:
        raise InvalidInputError(problems)
    rows = calibration(origin).steps.get(corruption.kind, {})
    if not rows:
        return corruption.amount(severity / len(SEVERITIES))
    if modality in rows:
        return rows[modality].amounts[severity - 1]
    return median(steps.amounts[severity - 1] for steps in rows.values())

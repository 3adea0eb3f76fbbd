"""Severities lie on the ladder that they claim, and a lesion is still there at the harshest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from medrobust_bench.attacks.corruptions.calibrate import calibrated, calibration_images, mean_ssim, ssim
from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.general import gaussian_noise
from medrobust_bench.attacks.corruptions.registry import OWN, corruption_of
from medrobust_bench.attacks.corruptions.severity import SEVERITIES, amount_of, calibration, ladder
from medrobust_bench.data.phantoms.canvas import Plane
from medrobust_bench.data.phantoms.phantom import BANKS, Phantom
from medrobust_bench.data.phantoms.scene import NORMAL
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import Modality, QuestionType

ORIGINS = ("phantoms", "clinical")


def test_ladder() -> None:
    assert ladder(0.3) == pytest.approx((0.9, 0.8, 0.7, 0.6, 0.5))
    assert ladder(0.9) == pytest.approx((0.98, 0.96, 0.94, 0.92, 0.9))


def test_ssim_of_an_image_to_itself_is_one() -> None:
    (image,) = calibration_images(None, Modality.FUNDUS, 1)
    assert ssim(image, image) == 1
    assert ssim(image, 255 - image) < 0.3


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_kind_has_its_row_in_every_modality(origin: str) -> None:
    table = calibration(origin)
    assert set(table.steps) == {corruption.kind for corruption in OWN}
    for corruption in OWN:
        assert set(table.steps[corruption.kind]) == {
            modality for modality in BANKS if corruption.occurs_in(modality)
        }


@pytest.mark.parametrize("origin", ORIGINS)
def test_severities_lie_on_the_ladder(origin: str) -> None:
    for corruption in OWN:
        mildest, harshest = corruption.amounts
        for modality, steps in calibration(origin).steps[corruption.kind].items():
            where = (corruption.kind, modality)
            assert all(
                (later - earlier) * (harshest - mildest) > 0 for earlier, later in pairwise(steps.amounts)
            ), where
            if corruption.moves:
                continue
            fifths = [corruption.amount(severity / 5) for severity in SEVERITIES]
            on_the_ladder = steps.ssim == pytest.approx(ladder(steps.ssim[4] - 0.015), abs=0.06)
            assert on_the_ladder or steps.amounts == pytest.approx(fifths, rel=1e-3), where
            assert all(later < earlier for earlier, later in pairwise(steps.ssim)), where


@pytest.mark.parametrize(
    "kind", ["gaussian-noise", "jpeg", "contrast-down", "mri-ghosting", "mri-rician-noise"]
)
def test_the_table_is_what_the_command_measures(kind: str) -> None:
    images = calibration_images(None, Modality.MRI, calibration("phantoms").images)
    steps = calibration("phantoms").steps[kind][Modality.MRI]
    measured = [mean_ssim(corruption_of(kind), amount, images) for amount in steps.amounts]
    assert measured == pytest.approx(steps.ssim, abs=0.004)


def test_calibration_finds_the_ladder() -> None:
    images = calibration_images(None, Modality.XRAY, 2)
    steps = calibrated(Corruption("noise", gaussian_noise, (0, 200), "levels"), images)
    assert steps.ssim == pytest.approx((0.9, 0.8, 0.7, 0.6, 0.5), abs=0.02)


def test_amounts() -> None:
    jpeg = corruption_of("jpeg")
    amounts = [amount_of(jpeg, Modality.CT, severity, "phantoms") for severity in SEVERITIES]
    assert amounts == sorted(amounts, reverse=True)
    added = Corruption("added", gaussian_noise, (0, 50), "levels")
    assert [amount_of(added, Modality.CT, severity, "clinical") for severity in SEVERITIES] == [
        10,
        20,
        30,
        40,
        50,
    ]
    with pytest.raises(InvalidInputError, match="6 is no severity"):
        amount_of(jpeg, Modality.CT, 6, "phantoms")
    with pytest.raises(InvalidInputError, match="does not occur in CT"):
        amount_of(corruption_of("derm-hair"), Modality.CT, 3, "phantoms")


def with_and_without_lesion(modality: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The same picture with its lesion and without."""
    phantom = Phantom(modality, index, "train")
    scene = phantom.scene()
    drawn = []
    for shown in (scene, replace(scene, finding=NORMAL)):
        rng = phantom.draws("pixels")
        plain = BANKS[modality].draw(shown, Plane.posed(rng), rng)
        plain = plain if plain.ndim == 3 else np.repeat(plain[:, :, None], 3, axis=2)
        drawn.append(np.clip(plain, 0, 255).astype(np.uint8))
    return drawn[0], drawn[1]


def lesions(modality: str) -> list[tuple[np.ndarray, np.ndarray]]:
    indices = [i for i in range(2, 200, 5) if Phantom(modality, i, "train").scene().finding != NORMAL]
    return [with_and_without_lesion(modality, index) for index in indices[:4]]


@pytest.mark.parametrize("modality", list(BANKS))
def test_the_lesion_is_still_in_the_picture(modality: str) -> None:
    """Where a diagnosis may be asked, severity 5 leaves a tenth of the contrast that the lesion makes."""
    pairs = lesions(modality)
    for corruption in OWN:
        if not corruption.fits(modality, QuestionType.DIAGNOSIS):
            continue
        amount = amount_of(corruption, modality, 5, "phantoms")
        left = []
        for index, (lesion, normal) in enumerate(pairs):
            pair = [
                corruption(image, amount, np.random.default_rng([9, index])).astype(float)
                for image in (lesion, normal)
            ]
            clean = np.abs(lesion.astype(float) - normal).sum()
            left.append(np.abs(pair[0] - pair[1]).sum() / clean)
        assert min(left) > 0.1, (corruption.kind, left)

"""What a physicist expects of the faults, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import fft2
from scipy.ndimage import map_coordinates

from medrobust_bench.attacks.corruptions import (
    ct,
    fields,
    general,
    levels,
    microscopy,
    mri,
    oct,
    optics,
    ultrasound,
    xray,
)
from medrobust_bench.attacks.corruptions.registry import corruption_of
from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms.phantom import Phantom
from medrobust_bench.specs.vocabulary import Modality


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def flat(level: int, side: int = 96) -> np.ndarray:
    return np.full((side, side, 3), level, dtype=np.uint8)


def cylinder(level: int = 120, side: int = 96, radius: float = 36) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.repeat((level * (x * x + y * y < radius * radius)).astype(np.uint8)[:, :, None], 3, axis=2)


class TestFields:
    def test_uniform_numbers_fill_the_open_interval(self) -> None:
        numbers = fields.uniform(rng(), (100_000,))
        assert 0 < numbers.min() < 1e-4
        assert 1 - 1e-4 < numbers.max() < 1
        assert numbers.var() == pytest.approx(1 / 12, rel=0.02)

    def test_normal_numbers(self) -> None:
        numbers = fields.normal(rng(), (100_000,))
        assert numbers.mean() == pytest.approx(0, abs=0.01)
        assert numbers.std() == pytest.approx(1, abs=0.01)

    @pytest.mark.parametrize("mean", [2.0, 10.0, 3000.0])
    def test_poisson_counts_have_equal_mean_and_variance(self, mean: float) -> None:
        counts = fields.poisson(rng(), np.full(200_000, mean))
        assert counts.mean() == pytest.approx(mean, rel=0.02)
        assert counts.var() == pytest.approx(mean, rel=0.05)
        assert (counts == np.rint(counts)).all()

    def test_cloud_is_smooth_and_bounded(self) -> None:
        field = fields.cloud(rng(), (40, 70), 4)
        assert field.shape == (40, 70)
        assert np.abs(field).max() <= 1
        assert np.abs(np.diff(field, axis=1)).max() < 0.2


class TestRounding:
    def test_halves_are_rounded_the_same_whatever_the_last_bits_say(self) -> None:
        halves = np.arange(255)[None, None] + 0.5
        exact = levels.to_image(halves)
        assert np.array_equal(exact, levels.to_image(halves * (1 - 1e-14)))
        assert np.array_equal(exact, levels.to_image(halves * (1 + 1e-14)))

    def test_8_bit_images_come_back(self) -> None:
        image = canonical(Phantom(Modality.FUNDUS, 1))
        assert np.array_equal(levels.to_image(levels.planes(image)), image)
        assert np.array_equal(levels.to_image(levels.planes(flat(7))), flat(7))


class TestGeneral:
    def test_gaussian_noise_has_its_deviation(self) -> None:
        noise = general.gaussian_noise(flat(128), 12, (), rng())[:, :, 0].astype(float)
        assert noise.std() == pytest.approx(12, rel=0.03)

    def test_shot_noise_grows_with_the_root_of_the_light(self) -> None:
        dark, bright = (general.shot_noise(flat(level), 200, (), rng())[:, :, 0].std() for level in (40, 160))
        assert bright / dark == pytest.approx(2, rel=0.06)

    def test_motion_blur_is_a_line_and_keeps_the_light(self) -> None:
        image = flat(0)
        image[48, 48] = 255
        blurred = general.motion_blur(image, 10, (0.0,), rng())[:, :, 0]
        assert np.count_nonzero(blurred.any(axis=1)) == 1
        assert np.count_nonzero(blurred) == pytest.approx(9.6, abs=2)
        assert int(blurred.sum()) == pytest.approx(255, abs=12)

    def test_nothing_is_lost_when_zooming_out(self) -> None:
        image = flat(0)
        image[:3], image[-3:], image[:, :3], image[:, -3:] = 255, 255, 255, 255
        for place in ((0.0, 0.0), (1.0, 1.0), (0.3, 0.8)):
            bright = general.zoom_out(image, 1.5, place, rng())[:, :, 0] > 60
            rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
            assert np.ptp(rows) == pytest.approx(64, abs=3)
            assert np.ptp(columns) == pytest.approx(64, abs=3)


class TestCt:
    def test_noise_of_a_low_dose_goes_with_the_root_of_the_photons(self) -> None:
        image = cylinder()
        errors = [
            (ct.low_dose(image, photons, (), rng()).astype(float) - image)[40:56, 40:56].std()
            for photons in (2e5, 2e4)
        ]
        assert errors[1] / errors[0] == pytest.approx(np.sqrt(10), rel=0.25)

    def test_noise_streaks_run_along_the_thick_direction(self) -> None:
        image = np.zeros((96, 96, 3), dtype=np.uint8)
        image[36:60, 6:90] = 150  # shoulders: thick from left to right
        noise = (ct.low_dose(image, 2e4, (), rng()).astype(float) - image)[42:54, 20:76, 0]
        along = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
        across = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
        assert along > across + 0.3

    def test_rings_are_round(self) -> None:
        image = flat(120, 128)
        fault = ct.ring(image, 10, (), rng())[:, :, 0].astype(float) - 120
        turns, radii = np.meshgrid(np.linspace(0, 2 * np.pi, 60), np.arange(8, 60))
        around = map_coordinates(fault, [64 + radii * np.sin(turns), 64 + radii * np.cos(turns)], order=1)
        assert around.mean(axis=1).std() > 3 * around.std(axis=1).mean()

    def test_uncorrected_hardening_cups(self) -> None:
        image = cylinder()
        darker = ct.beam_hardening(image, 1, (), rng())[:, :, 0].astype(float)
        assert darker[46:50, 46:50].mean() < darker[46:50, 16:20].mean() - 2

    def test_all_views_are_no_sparse_view(self) -> None:
        image = canonical(Phantom(Modality.CT, 2))
        assert np.array_equal(ct.sparse_view(image, ct.VIEWS, (0.0,), rng()), image)

    def test_metal_is_white_with_dark_bands_beside_it(self) -> None:
        image = cylinder()
        image[46:50, 30:34] = 230
        image[46:50, 62:66] = 230
        struck = ct.metal(image, 14, (0.0,), rng())[:, :, 0].astype(float)
        changed = struck - image[:, :, 0]
        assert struck.max() == 255
        assert changed.min() < -20

    def test_no_movement_no_artefact(self) -> None:
        image = canonical(Phantom(Modality.CT, 2))
        assert np.array_equal(ct.motion(image, 0, (0.2, 0.4), rng()), image)

    def test_a_thing_moved_half_way_through_is_seen_twice(self) -> None:
        image = flat(0)
        image[46:50, 46:50] = 250
        struck = ct.motion(image, 20, (0.0, 0.5), rng())[:, :, 0].astype(float)
        assert struck[46:50, 46:50].mean() > 60
        beside = max(struck[46:50, 46 + step : 50 + step].mean() for step in (-19, 19))
        assert beside > 60


class TestMri:
    def test_air_under_thermal_noise_is_rayleigh(self) -> None:
        noise = mri.rician_noise(flat(0, 200), 20, (), rng())[:, :, 0].astype(float)
        assert noise.mean() == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.02)
        assert noise.std() == pytest.approx(20 * np.sqrt(2 - np.pi / 2), rel=0.03)

    def test_ghosts_lie_a_fraction_of_the_field_away(self) -> None:
        image = flat(0)
        image[40:44, 40:44] = 200
        ghosts = mri.ghosting(image, 0.6, (1.5 / 3.5, 0.0), rng())[:, :, 0]  # n = 4 of 96 rows
        assert ghosts[40:44, 40:44].mean() == pytest.approx(200, abs=2)
        for row in (40 - 24, 40 + 24):
            assert ghosts[row : row + 4, 40:44].mean() == pytest.approx(200 * 0.3, abs=2)
        assert ghosts[:, :36].max() <= 1

    def test_a_spike_is_one_frequency(self) -> None:
        stripes = mri.spike(flat(128), 20, (0.0, 0.5, 0.0), rng())[:, :, 0].astype(float)
        power = np.abs(fft2(stripes - stripes.mean())) ** 2
        assert power.max() * 2 / power.sum() > 0.95
        assert np.ptp(stripes) == pytest.approx(40, abs=3)

    def test_too_few_lines_leave_nothing_beyond(self) -> None:
        image = canonical(Phantom(Modality.MRI, 2))
        blurred = mri.low_resolution(image, 0.4, (), rng())[:, :, 0].astype(float)
        power = np.abs(fft2(blurred)) ** 2
        assert power[20:44].sum() < 1e-3 * power.sum()

    def test_a_small_field_of_view_folds_what_is_beyond(self) -> None:
        image = flat(0)
        image[2:6, 48] = 100
        folded = mri.wrap_around(image, 0.25, (), rng())
        assert (folded[2 + 72 : 6 + 72, 48] == 100).all()
        assert (folded[2:6, 48] == 100).all()

    def test_no_fault_no_change(self) -> None:
        image = canonical(Phantom(Modality.MRI, 4))
        for fault, free in (
            (mri.bias_field, (0.1, 0.9, 0.4, 0.2, 0.7)),
            (mri.ghosting, (0.3, 0.2)),
            (mri.spike, (0.3, 0.2, 0.1)),
            (mri.motion, (0.1,) * 6),
            (mri.rician_noise, ()),
            (mri.zipper, (0.5,)),
        ):
            assert np.array_equal(fault(image, 0, free, rng()), image), fault.__name__


class TestXray:
    def test_scatter_keeps_the_dose_and_flattens(self) -> None:
        image = canonical(Phantom(Modality.XRAY, 2))
        veiled = xray.scatter(image, 2, (), rng())
        dose = [float(np.exp(-3 / 255 * picture.astype(float)).mean()) for picture in (image, veiled)]
        assert dose[1] == pytest.approx(dose[0], rel=0.05)
        assert veiled.std() < 0.75 * image.std()

    def test_mottle_is_worst_behind_bone(self) -> None:
        air, bone = (xray.underexposure(flat(level), 200, (), rng())[:, :, 0].std() for level in (60, 200))
        assert bone / air == pytest.approx(np.exp(1.5 * 140 / 255), rel=0.1)

    def test_overexposure_burns_out_lungs(self) -> None:
        assert xray.overexposure(flat(60), np.exp(1), (), rng()).max() == 0
        assert xray.overexposure(flat(200), np.exp(1), (), rng())[0, 0, 0] == 115


class TestUltrasound:
    def test_speckle_is_rayleigh(self) -> None:
        decibels = ultrasound.speckle_decibels(rng(), (400, 400), (0.6, 1.2))
        amplitude = 10 ** (decibels / 20)
        assert amplitude.mean() / amplitude.std() == pytest.approx(1.91, abs=0.05)

    def test_attenuation_is_linear_in_decibels(self) -> None:
        fading = ultrasound.attenuation(flat(200), 12, (), rng())[:, 0, 0].astype(float)
        assert fading[-1] == pytest.approx(200 - 12 * 255 / 60, abs=1)
        assert np.abs(np.diff(fading, n=2)).max() <= 1

    def test_the_shadow_lies_below_its_reflector(self) -> None:
        image = flat(120)
        image[30:33] = 250
        dark = ultrasound.shadow(image, 20, (0.5, 0.5), rng())[:, :, 0].astype(int)
        assert (dark[:30] == 120).all()
        assert dark[60:, 48].max() < 60
        assert (dark[:, :20] == image[:, :20, 0]).all()

    def test_the_frame_stays_black(self) -> None:
        image = flat(0)
        image[:, 20:76] = 110
        for fault in (ultrasound.over_gain, ultrasound.clutter, ultrasound.reverberation):
            assert fault(image, 10, (0.5,), rng())[:, :14].max() <= 12, fault.__name__

    def test_reverberation_repeats_at_the_interface_depth(self) -> None:
        image = flat(60)
        image[14:16] = 255  # 10 % of 96 rows plus 0.15·0.5: the period is 17 rows
        echoes = ultrasound.reverberation(image, -10, (0.5,), rng())[:, 48, 0].astype(int)
        assert echoes[14 + 17 : 16 + 17].min() == pytest.approx(255 - 10 * 255 / 60, abs=6)


class TestOct:
    def test_defocus_is_across_only(self) -> None:
        image = flat(0)
        image[40:44] = 200
        layers = oct.defocus(image, 2, (), rng())[:, :, 0]
        assert layers[:40].max() <= 1
        assert np.ptp(layers[41].astype(int)) == 0

    def test_a_tilt_moves_columns_and_changes_no_level(self) -> None:
        image = flat(20)
        image[40:56] = 200
        sloped = oct.tilt(image, 20, (0.0,), rng())[:, :, 0]
        assert sloped.max() == 200
        assert np.flatnonzero(sloped[:, 0] > 110)[0] + 19 == pytest.approx(
            np.flatnonzero(sloped[:, -1] > 110)[0], abs=1
        )


class TestLight:
    def test_defocus_adds_light_not_levels(self) -> None:
        image = flat(0)
        image[48, 48] = 255
        spot = optics.out_of_focus(levels.planes(image), 5)[0]
        assert (spot[48, 48] / 255) ** 2.2 == pytest.approx(1 / (np.pi * 4.8**2), rel=0.1)

    def test_stain_factors_of_one_change_nothing(self) -> None:
        image = canonical(Phantom(Modality.MICROSCOPY, 2))
        assert np.array_equal(microscopy.stain_balance(image, 0.8, (0.5, 0.5, 0.5), rng()), image)
        assert np.array_equal(microscopy.stain_strength(image, 0.0, (0.2,), rng()), image)

    def test_twice_the_stain_is_the_square_of_the_light(self) -> None:
        strong = microscopy.stain_strength(flat(127), np.log(2), (0.0,), rng())
        assert strong[0, 0, 0] == 63  # (127 + 1)² / 256 − 1

    def test_a_fold_is_never_brighter(self) -> None:
        image = canonical(Phantom(Modality.MICROSCOPY, 2))
        assert (microscopy.fold(image, 10, (0.3, 0.5), rng()) <= image).all()


MARKER = corruption_of("xray-marker")


def test_a_marker_fits_into_a_narrow_picture() -> None:
    """Its longest word is not cut off, whatever its height is worth on the long side."""
    marked = 0
    for seed in range(30):
        after = MARKER(np.zeros((200, 90, 3), np.uint8), 14, np.random.default_rng(seed))
        columns = np.flatnonzero(after.any(axis=(0, 2)))
        marked += columns.max() - columns.min() > 60
        assert columns.min() + 89 - columns.max() >= 5, "a cut word has no margin"
    assert marked > 3, "a wide word is among them"

"""DICOM files are shown as a viewer shows them: the expected pixels follow from the standard's formulas."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="DICOM needs the extra `dicom`")

from medrobust_bench.data.decoding import INVERTED, OWN_RANGE, ImageError, decode  # noqa: E402
from medrobust_bench.data.dicom import LOOK_UP_TABLE, PALETTE, WINDOW  # noqa: E402
from medrobust_bench.data.image import ImageBytes, canonical  # noqa: E402

LEVELS = np.linspace(-1000, 3000, 40 * 50).round().astype(np.int16).reshape(40, 50)


def dicom(pixels: np.ndarray, **fields: Any) -> bytes:
    """A DICOM file of these pixels, explicit little endian."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    bits = 8 * pixels.dtype.itemsize
    made.Rows, made.Columns = pixels.shape[-2:] if fields.get("SamplesPerPixel", 1) == 1 else pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in fields.items():
        setattr(made, name, value)
    made.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def windowed(levels: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, with 0 and 255 as black and white."""
    inside = ((levels - (centre - 0.5)) / (width - 1) + 0.5) * 255
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return np.where(levels <= low, 0, np.where(levels > high, 255, inside)).round()


@pytest.mark.parametrize(("centre", "width"), [(40, 400), (-600, 1500), (500, 2)])
def test_the_window_of_the_header_decides(centre: int, width: int) -> None:
    decoded = decode(dicom(LEVELS, WindowCenter=centre, WindowWidth=width))
    assert np.abs(np.asarray(decoded.image) - windowed(LEVELS, centre, width)).max() <= 1
    assert decoded.steps == (WINDOW,)


def test_the_first_of_several_windows_is_taken() -> None:
    one = decode(dicom(LEVELS, WindowCenter=40, WindowWidth=400))
    several = decode(dicom(LEVELS, WindowCenter=[40, -600], WindowWidth=[400, 1500]))
    assert np.array_equal(np.asarray(one.image), np.asarray(several.image))


def test_slope_and_intercept_come_before_the_window() -> None:
    stored = (LEVELS.astype(int) + 1024).astype(np.uint16)
    decoded = decode(dicom(stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400))
    assert np.abs(np.asarray(decoded.image) - windowed(LEVELS, 40, 400)).max() <= 1


def test_monochrome1_is_inverted() -> None:
    window = {"WindowCenter": 40, "WindowWidth": 400}
    plain, inverted = (
        decode(dicom(LEVELS, PhotometricInterpretation=kind, **window))
        for kind in ("MONOCHROME2", "MONOCHROME1")
    )
    assert np.array_equal(255 - np.asarray(plain.image), np.asarray(inverted.image))
    assert inverted.steps == (WINDOW, INVERTED)


def test_without_a_window_the_images_own_range_without_padding() -> None:
    padded = LEVELS.copy()
    padded[:4] = -2000
    decoded = decode(dicom(padded, PixelPaddingValue=-2000))
    low, high = LEVELS[4:].min(), LEVELS.max()
    expected = ((padded.astype(float) - low) / (high - low) * 255).clip(0, 255).round()
    assert np.array_equal(np.asarray(decoded.image), expected)
    assert decoded.steps == (OWN_RANGE,)


def test_a_table_of_the_header_is_looked_up() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 8], np.arange(255, -1, -1, dtype="<u2").tobytes()
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    decoded = decode(dicom(levels, VOILUTSequence=pydicom.Sequence([item])))
    assert np.array_equal(np.asarray(decoded.image), 255 - levels)
    assert decoded.steps == (LOOK_UP_TABLE,)


def test_colour_and_palette() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    decoded = decode(
        dicom(colours, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    )
    assert np.array_equal(np.asarray(decoded.image), colours)
    tables = {
        f"{name}PaletteColorLookupTable{part}": value
        for shift, name in enumerate(("Red", "Green", "Blue"))
        for part, value in (
            ("Descriptor", [256, 0, 16]),
            ("Data", np.array([(level + 7 * shift) % 256 * 256 for level in range(256)], "u2").tobytes()),
        )
    }
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    looked_up = decode(dicom(levels, PhotometricInterpretation="PALETTE COLOR", **tables))
    expected = np.stack([(levels.astype(int) + 7 * shift) % 256 for shift in range(3)], axis=-1)
    assert np.array_equal(np.asarray(looked_up.image), expected)
    assert looked_up.steps == (PALETTE,)


def test_frames_are_refused_or_chosen() -> None:
    content = dicom(np.stack([LEVELS, LEVELS[::-1]]), NumberOfFrames=2, WindowCenter=40, WindowWidth=400)
    with pytest.raises(ImageError, match="holds 2 frames"):
        decode(content)
    decoded = decode(content, frame=1)
    assert np.abs(np.asarray(decoded.image) - windowed(LEVELS[::-1], 40, 400)).max() <= 1
    assert decoded.steps == ("frame 1", WINDOW)


def test_a_dicom_image_has_a_canonical_form() -> None:
    pixels = canonical(ImageBytes(dicom(LEVELS, WindowCenter=40, WindowWidth=400)))
    assert (pixels.shape, pixels.dtype) == ((40, 50, 3), np.uint8)


def test_a_report_without_pixels_is_named() -> None:
    made = pydicom.dcmread(io.BytesIO(dicom(LEVELS)))
    del made.PixelData
    buffer = io.BytesIO()
    made.save_as(buffer)
    with pytest.raises(ImageError, match="without pixels"):
        decode(buffer.getvalue())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_is_told_and_never_raised() -> None:
    whole = dicom(LEVELS, WindowCenter=40, WindowWidth=400)
    draw = random.Random(0)
    told: list[ImageError] = []
    for _ in range(150):
        content = bytearray(whole[: draw.choice([len(whole), draw.randrange(132, len(whole))])])
        for _ in range(draw.choice([1, 4])):
            content[draw.randrange(132, min(len(content), 800))] = draw.randrange(256)
        try:
            assert decode(bytes(content)).image.size
        except ImageError as error:
            told.append(error)
    assert told
    assert all(error.remedy for error in told)
